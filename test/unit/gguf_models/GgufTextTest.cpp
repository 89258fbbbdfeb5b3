// Tokenizer and chat template of a published GGUF file against transformers' results on the same model.
#include "frontends/Checkpoint.h"
#include "frontends/gguf/GgufTokenizer.h"
#include "test/unit/text/TokenizerCases.h"

using namespace fusebox;
using namespace fusebox::test;

namespace {

class SmolLm2Gguf : public testing::Test {
protected:
  void SetUp() override {
    auto file = Checkpoint::open(FUSEBOX_TEST_MODELS "/SmolLM2-135M-Instruct.Q4_1.gguf");
    ASSERT_TRUE(file) << file.error().message << "; tools/fetch_test_models.sh fetches it";
    auto data = readGgufTokenizer(*file->gguf());
    ASSERT_TRUE(data) << data.error().message;
    auto converted = textAssetsFromGguf(*data);
    ASSERT_TRUE(converted) << converted.error().message;
    assets = *converted;
  }

  TextAssets assets;
  nlohmann::json cases = readJson(data("golden/smollm2-135m-instruct/tokenizer_cases.json"));
};

TEST_F(SmolLm2Gguf, IdsAndTextEqualTheReference) {
  auto tokenizer = Tokenizer::open(assets);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  // This file says add_bos_token = false, where the golden's folder says true.
  expectIdsAndText(cases, *tokenizer, "ids");
}

TEST_F(SmolLm2Gguf, ChatPromptsEqualTheReference) { expectChatPrompts(cases, assets); }

} // namespace
