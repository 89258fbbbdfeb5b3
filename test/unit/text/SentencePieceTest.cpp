// Our SentencePiece encoder against the library's results on small trained models
// (test/tools/make_sentencepiece_cases.py), and the tokenizer around it.

#include "TestFiles.h"
#include "runtime/text/SentencePieceEncoder.h"
#include "runtime/text/Tokenizer.h"
#include "runtime/text/Utf8.h"

using namespace fusebox;
using namespace fusebox::test;

namespace {

class SentencePieceCases : public testing::TestWithParam<const char *> {};

TEST_P(SentencePieceCases, IdsAndTextEqualTheLibrary) {
  std::string name = data(std::string("sentencepiece/") + GetParam());
  auto proto = parseSentencePieceProto(readFile(name + ".model"));
  ASSERT_TRUE(proto) << proto.error().message;
  auto encoder = SentencePieceEncoder::create(*proto);
  ASSERT_TRUE(encoder) << encoder.error().message;
  auto cases = readJson(name + ".json");
  for (const auto &entry : cases["encode"]) {
    std::string text = entry["text"];
    SCOPED_TRACE(text);
    auto ids = entry["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(encoder->encode(text, encoder->addsDummyPrefix()), ids);
    EXPECT_EQ(encoder->decode(ids), entry["decoded"].get<std::string>());
  }
  for (const auto &entry : cases["decode"])
    EXPECT_EQ(encoder->decode(entry["ids"].get<std::vector<int32_t>>()), entry["text"].get<std::string>());
}

TEST_P(SentencePieceCases, ModelSurvivesWritingAndReading) {
  std::string bytes = readFile(data(std::string("sentencepiece/") + GetParam() + ".model"));
  auto proto = parseSentencePieceProto(bytes);
  ASSERT_TRUE(proto);
  auto again = parseSentencePieceProto(serializeSentencePieceProto(*proto));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(serializeSentencePieceProto(*again), serializeSentencePieceProto(*proto));
  auto before = SentencePieceEncoder::create(*proto), after = SentencePieceEncoder::create(*again);
  std::string text = "The quick  <sep> 東京 fox";
  EXPECT_EQ(before->encode(text, true), after->encode(text, true));
}

INSTANTIATE_TEST_SUITE_P(Models, SentencePieceCases,
                         testing::Values("bpe", "bpe-nfkc", "bpe-unused", "unigram", "unigram-suffix",
                                         "unigram-unused"),
                         [](const auto &info) {
                           std::string name = info.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

// With a space before each of <s> (id 1) and </s> (id 2), which are control pieces of the model.
class SentencePieceTokenizer : public testing::Test {
protected:
  Tokenizer open(const std::string &config) {
    auto tokenizer = Tokenizer::fromSentencePiece(readFile(data("sentencepiece/bpe.model")), config);
    EXPECT_TRUE(tokenizer) << tokenizer.error().message;
    return *tokenizer;
  }
  using Ids = std::vector<int32_t>;
};

TEST_F(SentencePieceTokenizer, LlamaPutsBosFirstAndErnieNothing) {
  Ids plain = *open("").encode("hello", false);
  Ids withBos = plain;
  withBos.insert(withBos.begin(), 1);
  EXPECT_EQ(*open(R"({"tokenizer_class": "LlamaTokenizer"})").encode("hello", true), withBos);
  EXPECT_EQ(*open(R"({"tokenizer_class": "Ernie4_5_Tokenizer"})").encode("hello", true), plain);
  EXPECT_EQ(*open(R"({"tokenizer_class": "LlamaTokenizer", "add_bos_token": false})").encode("hello", true),
            plain);
  Ids withEos = plain;
  withEos.push_back(2);
  EXPECT_EQ(*open(R"({"add_bos_token": false, "add_eos_token": true})").encode("hello", true), withEos);
}

TEST_F(SentencePieceTokenizer, AddedTokensCutTheText) {
  Tokenizer tokenizer = open(R"({"added_tokens_decoder": {
    "900": {"content": "<|user|>", "special": true}, "901": {"content": "<|user|>>", "special": false},
    "902": {"content": "<x>", "special": true, "lstrip": true, "rstrip": true}}, "bos_token": "<s>"})");
  Ids hello = *tokenizer.encode("hello", false);
  Ids expected{900};
  expected.insert(expected.end(), hello.begin(), hello.end());
  EXPECT_EQ(*tokenizer.encode("<|user|>hello", false), expected);
  EXPECT_EQ(*tokenizer.encode("<|user|>><s>", false), (Ids{901, 1}));
  expected = hello;
  expected.push_back(902);
  expected.insert(expected.end(), hello.begin(), hello.end());
  EXPECT_EQ(*tokenizer.encode("hello <x> hello", false), expected);
  EXPECT_EQ(tokenizer.vocabSize(), 903);
  EXPECT_EQ(tokenizer.tokenId("<|user|>"), 900);
  EXPECT_EQ(*tokenizer.decode(*tokenizer.encode("<|user|>hello", false), /*skipSpecial=*/false),
            "<|user|>hello");
  EXPECT_EQ(*tokenizer.decode(*tokenizer.encode("<|user|>hello", false), /*skipSpecial=*/true), "hello");
}

TEST_F(SentencePieceTokenizer, PrefixSpaceStandsOnceUnlessLegacy) {
  std::string added = R"("added_tokens_decoder": {"900": {"content": "<x>", "special": true}})";
  Tokenizer legacy = open("{" + added + "}"), modern = open(R"({"legacy": false, )" + added + "}");
  Ids first = *modern.encode("hello", false);
  EXPECT_EQ(first, *legacy.encode("hello", false));
  Ids afterToken = *modern.encode("<x>hello", false);
  EXPECT_NE(afterToken, *legacy.encode("<x>hello", false));
  EXPECT_EQ(afterToken.front(), 900);
}

TEST_F(SentencePieceTokenizer, RefusesDamagedConfigurations) {
  std::string model = readFile(data("sentencepiece/bpe.model"));
  for (std::string config :
       {"[]", "{", R"({"added_tokens_decoder": 1})", R"({"added_tokens_decoder": {"x": {"content": "a"}}})",
        R"({"added_tokens_decoder": {"99999999": {"content": "a"}}})", R"({"add_bos_token": "yes"})"}) {
    auto tokenizer = Tokenizer::fromSentencePiece(model, config);
    ASSERT_FALSE(tokenizer) << config;
    EXPECT_EQ(tokenizer.error().kind, ErrorKind::Model);
    EXPECT_THAT(tokenizer.error().message, testing::HasSubstr("tokenizer_config.json"));
  }
}

TEST(SentencePieceProtoTest, RefusesEveryTruncation) {
  std::string model = readFile(data("sentencepiece/unigram-suffix.model"));
  for (size_t size = 0; size < model.size(); size += 7) {
    auto proto = parseSentencePieceProto(std::string_view(model).substr(0, size));
    if (proto) // cut between two fields
      (void)SentencePieceEncoder::create(*proto);
    else
      EXPECT_EQ(proto.error().kind, ErrorKind::Model);
  }
}

TEST(Utf8Test, AcceptsCharactersAndNothingElse) {
  for (std::string text : {"a", "é", "東", "🙂", "\xF4\x8F\xBF\xBF", "\xED\x9F\xBF"})
    EXPECT_EQ(utf8Length(text), text.size());
  for (std::string text : {"", "\x80", "\xC0\x80", "\xC3", "\xE0\x80\x80", "\xED\xA0\x80", "\xF0\x80\x80\x80",
                           "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xE6\x9D"})
    EXPECT_EQ(utf8Length(text), 0u);
  EXPECT_TRUE(isUtf8("a東🙂"));
  EXPECT_FALSE(isUtf8("a\xE6\x9D"));
}

} // namespace
