#include "runtime/text/LoadText.h"

#include "support/MappedFile.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

using namespace fusebox;
using nlohmann::json;

namespace {

/// A file's bytes; nothing when the folder has no such file.
Result<std::optional<std::string>> readIfPresent(const std::string &folder, const char *name) {
  std::string path = (std::filesystem::path(folder) / name).string();
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored))
    return std::optional<std::string>();
  FUSEBOX_ASSIGN(MappedFile file, MappedFile::open(path));
  auto bytes = file.bytes();
  return std::optional(std::string(reinterpret_cast<const char *>(bytes.data()), bytes.size()));
}

/// A file's JSON object; empty when the folder has no such file.
Result<json> readObject(const std::string &folder, const char *name) {
  FUSEBOX_ASSIGN(auto text, readIfPresent(folder, name));
  if (!text)
    return json::object();
  json object = json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object())
    return modelError((std::filesystem::path(folder) / name).string() +
                      ": expected a JSON object; fetch the file again");
  return object;
}

/// The template in tokenizer_config.json: a string, or a list of {"name": …, "template": …}.
std::string configuredTemplate(const json &config) {
  auto found = config.find("chat_template");
  if (found == config.end())
    return {};
  if (found->is_string())
    return found->get<std::string>();
  std::string chosen;
  if (!found->is_array())
    return chosen;
  for (const json &entry : *found) {
    bool usable = entry.is_object() && entry.contains("template") && entry["template"].is_string();
    if (!usable)
      continue;
    bool isDefault = entry.contains("name") && entry["name"] == "default";
    if (chosen.empty() || isDefault)
      chosen = entry["template"].get<std::string>();
    if (isDefault)
      break;
  }
  return chosen;
}

/// What transformers makes of a folder without generation_config.json.
json generationFromModel(const json &modelConfig) {
  json generation = json::object();
  for (const char *key : {"bos_token_id", "eos_token_id", "pad_token_id"})
    if (auto found = modelConfig.find(key); found != modelConfig.end() && !found->is_null())
      generation[key] = *found;
  return generation;
}

/// Dumped JSON; bytes that are not UTF-8 become U+FFFD. Nothing for an empty object.
std::string dumpUnlessEmpty(const json &object) {
  return object.empty() ? std::string() : object.dump(-1, ' ', false, json::error_handler_t::replace);
}

} // namespace

Result<TextAssets> fusebox::loadTextAssets(const std::string &folder) {
  TextAssets assets;
  FUSEBOX_ASSIGN(auto tokenizerJson, readIfPresent(folder, "tokenizer.json"));
  FUSEBOX_ASSIGN(auto tokenizerModel, readIfPresent(folder, "tokenizer.model"));
  if (tokenizerJson) {
    assets.kind = TokenizerKind::HuggingFace;
    assets.tokenizer = std::move(*tokenizerJson);
  } else if (tokenizerModel) {
    assets.kind = TokenizerKind::SentencePiece;
    assets.tokenizer = std::move(*tokenizerModel);
  }

  FUSEBOX_ASSIGN(json config, readObject(folder, "tokenizer_config.json"));
  FUSEBOX_ASSIGN(json specialTokens, readObject(folder, "special_tokens_map.json"));
  config.insert(specialTokens.begin(), specialTokens.end()); // keeps the keys that are there
  FUSEBOX_ASSIGN(auto templateFile, readIfPresent(folder, "chat_template.jinja"));
  assets.chatTemplate = templateFile ? *templateFile : configuredTemplate(config);
  config.erase("chat_template");
  assets.tokenizerConfig = dumpUnlessEmpty(config);

  FUSEBOX_ASSIGN(json generation, readObject(folder, "generation_config.json"));
  if (generation.empty()) {
    FUSEBOX_ASSIGN(json modelConfig, readObject(folder, "config.json"));
    generation = generationFromModel(modelConfig);
  }
  assets.generationConfig = dumpUnlessEmpty(generation);
  return assets;
}
