#include "runtime/text/GgufTokenizer.h"
#include "runtime/text/SentencePieceEncoder.h"
#include "runtime/text/Utf8.h"
#include "test/unit/text/TokenizerCases.h"

#include <algorithm>

using namespace fusebox;
using namespace fusebox::test;

namespace {

/// GGUF metadata as a conversion of the golden's tokenizer.json has it.
GgufTokenizerData smolLm2() {
  auto file = readJson(data("golden/smollm2-135m-instruct/tokenizer.json"));
  GgufTokenizerData gguf;
  gguf.model = "gpt2";
  gguf.pre = "smollm";
  gguf.tokens.resize(file["model"]["vocab"].size());
  for (const auto &[text, id] : file["model"]["vocab"].items())
    gguf.tokens[id.get<size_t>()] = text;
  gguf.tokenTypes.assign(gguf.tokens.size(), 1);
  for (const auto &token : file["added_tokens"])
    gguf.tokenTypes[token["id"].get<size_t>()] = 3;
  for (const auto &merge : file["model"]["merges"])
    gguf.merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  gguf.bosId = 1;
  gguf.eosId = 2;
  gguf.addBos = false;
  return gguf;
}

TEST(GgufTokenizerTest, ByteLevelIdsEqualTheFolders) {
  auto assets = textAssetsFromGguf(smolLm2());
  ASSERT_TRUE(assets) << assets.error().message;
  auto tokenizer = Tokenizer::open(*assets);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  auto cases = readJson(data("golden/smollm2-135m-instruct/tokenizer_cases.json"));
  expectIdsAndText(cases, *tokenizer, "ids"); // the file says add_bos_token = false
  EXPECT_EQ(*endOfTextIds(*assets, *tokenizer), (std::vector<int32_t>{0, 2}));
}

TEST(GgufTokenizerTest, AddsBosAndEosWhereTheFileSaysSo) {
  GgufTokenizerData gguf = smolLm2();
  gguf.addBos = true;
  gguf.addEos = true;
  auto assets = textAssetsFromGguf(gguf);
  ASSERT_TRUE(assets);
  auto tokenizer = Tokenizer::open(*assets);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ(*tokenizer->encode("Hello, world!", true), (std::vector<int32_t>{1, 19556, 28, 905, 17, 2}));
  EXPECT_EQ(*tokenizer->encode("Hello, world!", false), (std::vector<int32_t>{19556, 28, 905, 17}));
}

/// GGUF metadata as a conversion of a SentencePiece model has it.
GgufTokenizerData llama(const SentencePieceProto &proto) {
  GgufTokenizerData gguf;
  gguf.model = "llama";
  for (const auto &piece : proto.pieces) {
    gguf.tokens.push_back(piece.text);
    gguf.scores.push_back(piece.score);
    gguf.tokenTypes.push_back(int32_t(piece.type));
  }
  gguf.bosId = 1;
  gguf.eosId = 2;
  gguf.unknownId = 0;
  gguf.chatTemplate = "{{ bos_token }}{{ messages[0].content }}";
  return gguf;
}

TEST(GgufTokenizerTest, SentencePieceIdsEqualTheLibrary) {
  auto proto = parseSentencePieceProto(readFile(data("sentencepiece/bpe.model")));
  ASSERT_TRUE(proto);
  auto assets = textAssetsFromGguf(llama(*proto));
  ASSERT_TRUE(assets) << assets.error().message;
  auto tokenizer = Tokenizer::open(*assets);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  auto cases = readJson(data("sentencepiece/bpe.json"));
  for (const auto &entry : cases["encode"]) {
    std::string text = entry["text"];
    bool spellsToken = text.find("<s>") != std::string::npos || text.find("<unk>") != std::string::npos;
    if (spellsToken) // in a GGUF model these become their ids
      continue;
    SCOPED_TRACE(text);
    auto ids = entry["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(*tokenizer->encode(text, /*addSpecial=*/false), ids);
    ids.insert(ids.begin(), 1);
    EXPECT_EQ(*tokenizer->encode(text, /*addSpecial=*/true), ids);
  }
  EXPECT_EQ(*renderChat(*assets, {{"user", "hi"}}), "<s>hi");
  EXPECT_EQ(*endOfTextIds(*assets, *tokenizer), std::vector<int32_t>{2});
}

TEST(GgufTokenizerTest, EveryKnownPreTokenizerOpens) {
  GgufTokenizerData gguf;
  gguf.model = "gpt2";
  for (std::string &token : smolLm2().tokens)
    if (utf8Length(token) == token.size()) // the single bytes' characters
      gguf.tokens.push_back(token);
  for (std::string pre : {"", "default", "gpt-2", "smollm", "starcoder", "refact", "qwen2",
                          "deepseek-r1-qwen", "llama-bpe", "llama3", "llama-v3", "tekken"}) {
    SCOPED_TRACE(pre);
    gguf.pre = pre;
    auto assets = textAssetsFromGguf(gguf);
    ASSERT_TRUE(assets) << assets.error().message;
    auto tokenizer = Tokenizer::open(*assets);
    ASSERT_TRUE(tokenizer) << tokenizer.error().message;
    std::string text = "Hello  World 12345\n\n  it's 東京 ";
    EXPECT_EQ(*tokenizer->decode(*tokenizer->encode(text, false), true), text);
  }
}

TEST(GgufTokenizerTest, WithoutATokenizerAssetsAreEmpty) { EXPECT_EQ(*textAssetsFromGguf({}), TextAssets{}); }

TEST(GgufTokenizerTest, InconsistentDataIsReportedByKey) {
  auto expectError = [](const char *key, auto change) {
    auto proto = parseSentencePieceProto(readFile(data("sentencepiece/bpe.model")));
    GgufTokenizerData gguf = llama(*proto);
    change(gguf);
    auto assets = textAssetsFromGguf(gguf);
    ASSERT_FALSE(assets) << key;
    EXPECT_EQ(assets.error().kind, ErrorKind::Model);
    EXPECT_THAT(assets.error().message, testing::HasSubstr(std::string("tokenizer.ggml.") + key));
  };
  expectError("model", [](auto &gguf) { gguf.model = "bert"; });
  expectError("pre", [](auto &gguf) { gguf.model = "gpt2", gguf.pre = "unheard-of"; });
  expectError("scores", [](auto &gguf) { gguf.scores.pop_back(); });
  expectError("token_type", [](auto &gguf) { gguf.tokenTypes.pop_back(); });
  expectError("token_type", [](auto &gguf) { gguf.tokenTypes[5] = 9; });
  expectError("tokens", [](auto &gguf) { gguf.tokens[5] = gguf.tokens[6]; });
  expectError("tokens", [](auto &gguf) { gguf.model = "gpt2", gguf.tokens[5] = "\xff"; });
  expectError("tokens", [](auto &gguf) { gguf.model = "gpt2", gguf.tokens[300] = gguf.tokens[301]; });
  expectError("merges", [](auto &gguf) { gguf.model = "gpt2", gguf.merges = {"nospace"}; });
  expectError("*_token_id", [](auto &gguf) { gguf.bosId = 1u << 31; });
}

} // namespace
