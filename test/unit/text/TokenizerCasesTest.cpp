// Token ids, decoded text and chat prompts against what transformers made of the same tokenizers.

#include "test/unit/text/TokenizerCases.h"
#include "runtime/text/LoadText.h"

using namespace fusebox;
using namespace fusebox::test;

namespace {

/// The golden's cases and the folder its tokenizer is in.
struct Source {
  std::string cases, folder;
};

class TokenizerCases : public testing::TestWithParam<Source> {
protected:
  void SetUp() override {
    cases = readJson(data("golden/" + GetParam().cases + "/tokenizer_cases.json"));
    auto loaded = loadTextAssets(GetParam().folder);
    ASSERT_TRUE(loaded) << loaded.error().message;
    assets = *loaded;
  }

  nlohmann::json cases;
  TextAssets assets;
};

TEST_P(TokenizerCases, IdsAndTextEqualTheReference) {
  auto tokenizer = Tokenizer::open(assets);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  expectIdsAndText(cases, *tokenizer);
}

TEST_P(TokenizerCases, ChatPromptsEqualTheReference) { expectChatPrompts(cases, assets); }

TEST_P(TokenizerCases, StreamedTextEqualsDecodedText) {
  auto tokenizer = Tokenizer::open(assets);
  ASSERT_TRUE(tokenizer);
  for (const auto &entry : cases["cases"]) {
    StreamDecoder decoder(*tokenizer, /*skipSpecial=*/true);
    std::string text;
    for (int32_t id : entry["ids"].get<std::vector<int32_t>>())
      text += *decoder.push(id);
    text += *decoder.finish();
    EXPECT_EQ(text, entry["decoded_skip_special"].get<std::string>());
  }
}

INSTANTIATE_TEST_SUITE_P(Goldens, TokenizerCases,
                         testing::Values(Source{"smollm2-135m-instruct",
                                                data("golden/smollm2-135m-instruct")},
                                         Source{"qwen3-tokenizer", FUSEBOX_TEST_MODELS "/qwen3-tokenizer"}),
                         [](const auto &info) { return info.index == 0 ? "SmolLM2" : "Qwen3"; });

TEST(TokenizerTest, KnowsSpecialTokens) {
  auto assets = loadTextAssets(data("golden/smollm2-135m-instruct"));
  ASSERT_TRUE(assets);
  auto opening = openTokenizerAsync(*assets);
  auto tokenizer = opening.get();
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->vocabSize(), 49152);
  EXPECT_EQ(tokenizer->tokenId("<|im_end|>"), 2);
  EXPECT_EQ(tokenizer->tokenText(2), "<|im_end|>");
  EXPECT_TRUE(tokenizer->isSpecial(2));
  EXPECT_FALSE(tokenizer->isSpecial(300));
  EXPECT_EQ(tokenizer->tokenId("no such token"), std::nullopt);
  EXPECT_EQ(tokenizer->tokenText(-1), std::nullopt);
  EXPECT_EQ(tokenizer->tokenText(49152), std::nullopt);
  EXPECT_EQ(*endOfTextIds(*assets, *tokenizer), std::vector<int32_t>{2});
}

TEST(TokenizerTest, RefusesTextThatIsNotUtf8) {
  auto assets = loadTextAssets(data("golden/smollm2-135m-instruct"));
  auto tokenizer = Tokenizer::open(*assets);
  ASSERT_TRUE(tokenizer);
  auto ids = tokenizer->encode("\xff\xfe", false);
  ASSERT_FALSE(ids);
  EXPECT_EQ(ids.error().kind, ErrorKind::Model);
}

TEST(TokenizerTest, ReportsAnUnusableTokenizerJson) {
  for (std::string text : {"", "{", "[]", "{\"model\": {}}"}) {
    auto tokenizer = Tokenizer::fromHuggingFaceJson(text);
    ASSERT_FALSE(tokenizer);
    EXPECT_EQ(tokenizer.error().kind, ErrorKind::Model);
    EXPECT_THAT(tokenizer.error().message, testing::HasSubstr("tokenizer.json"));
  }
  EXPECT_EQ(Tokenizer::open({}).error().kind, ErrorKind::Usage);
}

} // namespace
