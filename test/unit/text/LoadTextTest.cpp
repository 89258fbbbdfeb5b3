#include "runtime/text/LoadText.h"
#include "TestFiles.h"
#include "runtime/text/ChatTemplate.h"
#include "runtime/text/Tokenizer.h"

#include <filesystem>
#include <unistd.h>

using namespace fusebox;
using namespace fusebox::test;

namespace {

class LoadText : public testing::Test {
protected:
  LoadText() {
    std::string name = (std::filesystem::temp_directory_path() / "fusebox-load-text-XXXXXX").string();
    folder = mkdtemp(name.data());
  }
  ~LoadText() override { std::filesystem::remove_all(folder); }

  void write(const std::string &name, const std::string &text) {
    std::ofstream(folder / name, std::ios::binary) << text;
  }
  TextAssets load() {
    auto assets = loadTextAssets(folder.string());
    EXPECT_TRUE(assets) << assets.error().message;
    return *assets;
  }

  std::filesystem::path folder;
};

TEST_F(LoadText, AnEmptyFolderGivesEmptyAssets) { EXPECT_EQ(load(), TextAssets{}); }

TEST_F(LoadText, PrefersTokenizerJson) {
  write("tokenizer.model", "model");
  EXPECT_EQ(load().kind, TokenizerKind::SentencePiece);
  EXPECT_EQ(load().tokenizer, "model");
  write("tokenizer.json", "json");
  EXPECT_EQ(load().kind, TokenizerKind::HuggingFace);
  EXPECT_EQ(load().tokenizer, "json");
}

TEST_F(LoadText, FindsTheTemplateWhereverItIs) {
  write("tokenizer_config.json", R"({"chat_template": "in the config"})");
  EXPECT_EQ(load().chatTemplate, "in the config");
  write("tokenizer_config.json", R"({"chat_template": [{"name": "tool_use", "template": "tools"},
                                                       {"name": "default", "template": "plain"}]})");
  EXPECT_EQ(load().chatTemplate, "plain");
  write("chat_template.jinja", "in its file");
  EXPECT_EQ(load().chatTemplate, "in its file");
}

TEST_F(LoadText, FallsBackToTheModelsTokenIds) {
  write("config.json", R"({"eos_token_id": [7, 9], "hidden_size": 64})");
  EXPECT_EQ(readGenerationDefaults(load())->eosIds, (std::vector<int32_t>{7, 9}));
  write("generation_config.json", R"({"eos_token_id": 3})");
  EXPECT_EQ(readGenerationDefaults(load())->eosIds, std::vector<int32_t>{3});
}

TEST_F(LoadText, MergesTheSpecialTokensMap) {
  write("special_tokens_map.json", R"({"bos_token": {"content": "<a>"}, "eos_token": "<b>"})");
  write("tokenizer_config.json", R"({"eos_token": "<c>"})");
  write("chat_template.jinja", "{{ bos_token }}{{ eos_token }}{{ messages[0].content }}");
  EXPECT_EQ(*renderChat(load(), {{"user", "hi"}}), "<a><c>hi");
}

TEST_F(LoadText, NamesTheFileThatIsNotJson) {
  write("tokenizer_config.json", "{");
  auto assets = loadTextAssets(folder.string());
  ASSERT_FALSE(assets);
  EXPECT_EQ(assets.error().kind, ErrorKind::Model);
  EXPECT_THAT(assets.error().message, testing::HasSubstr("tokenizer_config.json"));
}

TEST_F(LoadText, ATokenizerModelAloneIsEnough) {
  write("tokenizer.model", readFile(data("sentencepiece/unigram.model")));
  auto tokenizer = Tokenizer::open(load());
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ(*tokenizer->decode(*tokenizer->encode("Hello world 東京", false), true), "Hello world 東京");
}

} // namespace
