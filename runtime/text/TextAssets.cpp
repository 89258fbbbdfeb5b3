#include "runtime/text/TextAssets.h"

#include <array>
#include <cstring>
#include <nlohmann/json.hpp>

using namespace fusebox;

namespace {

// Little-endian: magic, version, kind, then four times a 64-bit size and that many bytes.
constexpr uint32_t magic = 0x54584246; // "FBXT"
constexpr uint32_t version = 1;

template <typename T> void append(std::vector<std::byte> &out, T value) {
  auto bytes = std::as_bytes(std::span(&value, 1));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

template <typename Assets> auto sections(Assets &assets) {
  return std::array{&assets.tokenizer, &assets.tokenizerConfig, &assets.chatTemplate,
                    &assets.generationConfig};
}

/// Takes the next T off the front of `bytes`; false when there are too few.
template <typename T> bool take(std::span<const std::byte> &bytes, T &value) {
  if (bytes.size() < sizeof(T))
    return false;
  std::memcpy(&value, bytes.data(), sizeof(T));
  bytes = bytes.subspan(sizeof(T));
  return true;
}

} // namespace

std::vector<std::byte> fusebox::serializeTextAssets(const TextAssets &assets) {
  std::vector<std::byte> out;
  append(out, magic);
  append(out, version);
  append(out, assets.kind);
  for (const std::string *section : sections(assets)) {
    append(out, uint64_t(section->size()));
    auto bytes = std::as_bytes(std::span(*section));
    out.insert(out.end(), bytes.begin(), bytes.end());
  }
  return out;
}

Result<TextAssets> fusebox::parseTextAssets(std::span<const std::byte> bytes) {
  uint32_t foundMagic, foundVersion, kind;
  if (!take(bytes, foundMagic) || !take(bytes, foundVersion) || !take(bytes, kind) || foundMagic != magic)
    return modelError(
        "plan: text section: not one of Fusebox's; the file is damaged, compile the model again");
  if (foundVersion != version)
    return modelError("plan: text section: version " + std::to_string(foundVersion) + ", this build reads " +
                      std::to_string(version) + "; compile the model again");
  if (kind > uint32_t(TokenizerKind::SentencePiece))
    return modelError("plan: text section: unknown tokenizer kind " + std::to_string(kind) +
                      "; compile the model again");
  TextAssets assets;
  assets.kind = TokenizerKind(kind);
  for (std::string *section : sections(assets)) {
    uint64_t size;
    if (!take(bytes, size) || size > bytes.size())
      return modelError("plan: text section: cut short; the file is damaged, compile the model again");
    section->assign(reinterpret_cast<const char *>(bytes.data()), size_t(size));
    bytes = bytes.subspan(size_t(size));
  }
  if (!bytes.empty())
    return modelError("plan: text section: " + std::to_string(bytes.size()) +
                      " bytes too long; the file is damaged, compile the model again");
  return assets;
}

namespace {

using nlohmann::json;

Error wrongType(const char *key, const char *expected) {
  return modelError(std::string("generation_config.json: ") + key + ": expected " + expected);
}

Result<void> readNumber(const json &config, const char *key, float &value) {
  auto found = config.find(key);
  if (found == config.end() || found->is_null())
    return {};
  if (!found->is_number())
    return wrongType(key, "a number");
  value = found->get<float>();
  return {};
}

bool isTokenId(const json &value) { return value.is_number_unsigned() && value.get<uint64_t>() < INT32_MAX; }

Result<void> readEosIds(const json &config, std::vector<int32_t> &ids) {
  auto found = config.find("eos_token_id");
  if (found == config.end() || found->is_null())
    return {};
  for (const json &id : found->is_array() ? *found : json::array({*found})) {
    if (!isTokenId(id))
      return wrongType("eos_token_id", "a token id or a list of them");
    ids.push_back(id.get<int32_t>());
  }
  return {};
}

} // namespace

Result<GenerationDefaults> fusebox::readGenerationDefaults(const TextAssets &assets) {
  GenerationDefaults defaults;
  if (assets.generationConfig.empty())
    return defaults;
  json config = json::parse(assets.generationConfig, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object())
    return modelError("generation_config.json: not a JSON object; fetch the file again");
  FUSEBOX_TRY(readEosIds(config, defaults.eosIds));
  float topK = 0;
  FUSEBOX_TRY(readNumber(config, "temperature", defaults.temperature));
  FUSEBOX_TRY(readNumber(config, "top_p", defaults.topP));
  FUSEBOX_TRY(readNumber(config, "min_p", defaults.minP));
  FUSEBOX_TRY(readNumber(config, "repetition_penalty", defaults.repetitionPenalty));
  FUSEBOX_TRY(readNumber(config, "top_k", topK));
  defaults.topK = topK >= 1 && topK < 1e9f ? uint32_t(topK) : 0;
  auto sample = config.find("do_sample");
  if (sample != config.end() && !sample->is_null()) {
    if (!sample->is_boolean())
      return wrongType("do_sample", "true or false");
    defaults.sample = sample->get<bool>();
  }
  return defaults;
}
