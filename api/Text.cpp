// Tokenizers and chat templates of the C interface.
#include "api/Api.h"

#include "frontends/Checkpoint.h"
#include "frontends/Resolve.h"
#include "frontends/gguf/GgufTokenizer.h"
#include "runtime/plan/PlanFile.h"
#include "runtime/plan/PlanLayout.h"
#include "runtime/text/ChatTemplate.h"
#include "runtime/text/LoadText.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

using namespace fusebox;

bool api::isPlanFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  char magic[sizeof plan::fileMagic];
  return file.read(magic, sizeof magic) && !std::memcmp(magic, plan::fileMagic, sizeof magic);
}

Result<void> api::refusePlan(const std::string &model, const std::string &what) {
  if (isPlanFile(model))
    return usageError(model + ": is a plan; " + what + " takes the model that it was compiled from");
  return {};
}

Result<TextAssets> api::planTextAssets(const plan::PlanReader &reader) {
  const plan::Section *section = reader.find(plan::SectionKind::TextAssets);
  if (!section)
    return TextAssets{};
  FUSEBOX_ASSIGN(std::vector<std::byte> bytes, reader.read(*section));
  return parseTextAssets(bytes);
}

Result<TextAssets> api::textAssetsOf(const std::string &model) {
  if (isPlanFile(model)) {
    FUSEBOX_ASSIGN(plan::PlanReader reader, plan::PlanReader::open(model));
    return planTextAssets(reader);
  }
  FUSEBOX_ASSIGN(std::string path, resolveModel(model));
  if (!std::filesystem::is_directory(path)) {
    FUSEBOX_ASSIGN(Checkpoint checkpoint, Checkpoint::open(path));
    if (checkpoint.isGguf()) {
      FUSEBOX_ASSIGN(GgufTokenizerData data, readGgufTokenizer(*checkpoint.gguf()));
      return textAssetsFromGguf(data);
    }
    path = std::filesystem::path(path).parent_path();
  }
  return loadTextAssets(path);
}

fusebox_status fusebox_open_tokenizer(const char *model, fusebox_tokenizer **tokenizer) {
  return api::guarded([&]() -> Result<void> {
    FUSEBOX_ASSIGN(TextAssets assets, api::textAssetsOf(model));
    if (assets.kind == TokenizerKind::None)
      return modelError(std::string(model) +
                        ": holds no tokenizer (tokenizer.json, tokenizer.model or GGUF metadata)");
    auto opened = std::make_unique<fusebox_tokenizer>();
    opened->opened.emplace(Tokenizer::open(assets));
    if (!*opened->opened)
      return opened->opened->error();
    opened->assets = std::move(assets);
    *tokenizer = opened.release();
    return {};
  });
}

void fusebox_close_tokenizer(fusebox_tokenizer *tokenizer) { delete tokenizer; }

fusebox_status fusebox_tokenize(fusebox_tokenizer *tokenizer, const char *text, int add_special,
                                int32_t **ids, int32_t *count) {
  return api::guarded([&]() -> Result<void> {
    const Result<Tokenizer> &opened = tokenizer->get();
    if (!opened)
      return opened.error();
    FUSEBOX_ASSIGN(std::vector<int32_t> encoded, opened->encode(text, add_special != 0));
    *ids = static_cast<int32_t *>(std::malloc(std::max<size_t>(1, encoded.size()) * sizeof(int32_t)));
    if (!*ids)
      return resourceError("out of memory");
    std::copy(encoded.begin(), encoded.end(), *ids);
    *count = int32_t(encoded.size());
    return {};
  });
}

fusebox_status fusebox_detokenize(fusebox_tokenizer *tokenizer, const int32_t *ids, int32_t count,
                                  int skip_special, char **text) {
  return api::guarded([&]() -> Result<void> {
    const Result<Tokenizer> &opened = tokenizer->get();
    if (!opened)
      return opened.error();
    FUSEBOX_ASSIGN(std::string decoded, opened->decode({ids, size_t(count)}, skip_special != 0));
    *text = api::copyString(decoded);
    return {};
  });
}

fusebox_status fusebox_apply_chat_template(fusebox_tokenizer *tokenizer, const char *messages,
                                           int add_generation_prompt, char **text) {
  return api::guarded([&]() -> Result<void> {
    ChatOptions options;
    options.addGenerationPrompt = add_generation_prompt != 0;
    FUSEBOX_ASSIGN(std::string rendered, renderChatJson(tokenizer->assets, messages, options));
    *text = api::copyString(rendered);
    return {};
  });
}
