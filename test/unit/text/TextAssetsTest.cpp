#include "runtime/text/TextAssets.h"
#include "TestFiles.h"

using namespace fusebox;

namespace {

TextAssets example() {
  return {TokenizerKind::HuggingFace, "{}", R"({"bos_token": "<s>"})", "{{ messages }}",
          R"({"eos_token_id": [2, 3]})"};
}

TEST(TextAssetsTest, SurviveSerialisation) {
  for (const TextAssets &assets : {example(), TextAssets{}}) {
    auto again = parseTextAssets(serializeTextAssets(assets));
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(*again, assets);
  }
}

TEST(TextAssetsTest, EveryTruncationIsAnError) {
  std::vector<std::byte> bytes = serializeTextAssets(example());
  for (size_t size = 0; size < bytes.size(); ++size) {
    auto assets = parseTextAssets(std::span(bytes).first(size));
    ASSERT_FALSE(assets);
    EXPECT_EQ(assets.error().kind, ErrorKind::Model);
  }
  bytes.push_back(std::byte(0));
  EXPECT_FALSE(parseTextAssets(bytes));
}

TEST(TextAssetsTest, SizesBeyondTheEndAreErrors) {
  std::vector<std::byte> bytes = serializeTextAssets(example());
  for (size_t i = 12; i < 20; ++i) // the first section's size
    bytes[i] = std::byte(0xff);
  EXPECT_FALSE(parseTextAssets(bytes));
}

TEST(TextAssetsTest, ForeignVersionsAndKindsAreErrors) {
  for (size_t byte : {0, 4, 8}) {
    std::vector<std::byte> bytes = serializeTextAssets(example());
    bytes[byte] = std::byte(0x7f);
    auto assets = parseTextAssets(bytes);
    ASSERT_FALSE(assets);
    EXPECT_THAT(assets.error().message, testing::HasSubstr("text section"));
  }
}

TEST(GenerationDefaultsTest, ReadsOneOrSeveralEnds) {
  TextAssets assets;
  assets.generationConfig =
      R"({"eos_token_id": [151645, 151643], "temperature": 0.6, "top_k": 20, "top_p": 0.95,
                                "do_sample": true})";
  auto defaults = readGenerationDefaults(assets);
  ASSERT_TRUE(defaults) << defaults.error().message;
  EXPECT_EQ(defaults->eosIds, (std::vector<int32_t>{151645, 151643}));
  EXPECT_TRUE(defaults->sample);
  EXPECT_FLOAT_EQ(defaults->temperature, 0.6f);
  EXPECT_EQ(defaults->topK, 20u);
  assets.generationConfig = R"({"eos_token_id": 2, "temperature": null})";
  EXPECT_EQ(readGenerationDefaults(assets)->eosIds, std::vector<int32_t>{2});
  assets.generationConfig = "";
  EXPECT_TRUE(readGenerationDefaults(assets)->eosIds.empty());
}

TEST(GenerationDefaultsTest, NamesTheKeyOfAWrongType) {
  for (auto [config, key] : {std::pair{R"({"eos_token_id": "2"})", "eos_token_id"},
                             {R"({"eos_token_id": [-1]})", "eos_token_id"},
                             {R"({"temperature": "hot"})", "temperature"},
                             {R"({"do_sample": 1})", "do_sample"},
                             {"[1", "JSON"}}) {
    TextAssets assets;
    assets.generationConfig = config;
    auto defaults = readGenerationDefaults(assets);
    ASSERT_FALSE(defaults);
    EXPECT_EQ(defaults.error().kind, ErrorKind::Model);
    EXPECT_THAT(defaults.error().message, testing::HasSubstr(key));
  }
}

} // namespace
