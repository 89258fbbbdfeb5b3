#include "runtime/text/Tokenizer.h"

#include <nlohmann/json.hpp>

using namespace fusebox;

Result<Tokenizer> Tokenizer::open(const TextAssets &assets) {
  switch (assets.kind) {
  case TokenizerKind::HuggingFace:
    return fromHuggingFaceJson(assets.tokenizer);
  case TokenizerKind::SentencePiece:
    return fromSentencePiece(assets.tokenizer, assets.tokenizerConfig);
  case TokenizerKind::None:
    break;
  }
  return usageError("the model has no tokenizer: feed token ids (--ids), or put tokenizer.json or "
                    "tokenizer.model into its folder and compile again");
}

Result<Tokenizer> Tokenizer::fromHuggingFaceJson(std::string_view tokenizerJson) {
  FUSEBOX_ASSIGN(auto model, openHuggingFaceModel(tokenizerJson));
  return Tokenizer(std::move(model));
}

Result<Tokenizer> Tokenizer::fromSentencePiece(std::string_view bytes, std::string_view tokenizerConfigJson) {
  FUSEBOX_ASSIGN(auto model, openSentencePieceModel(bytes, tokenizerConfigJson));
  return Tokenizer(std::move(model));
}

std::future<Result<Tokenizer>> fusebox::openTokenizerAsync(TextAssets assets) {
  return std::async(std::launch::async, [assets = std::move(assets)] { return Tokenizer::open(assets); });
}

Result<std::vector<int32_t>> fusebox::endOfTextIds(const TextAssets &assets, const Tokenizer &tokenizer) {
  FUSEBOX_ASSIGN(GenerationDefaults defaults, readGenerationDefaults(assets));
  if (!defaults.eosIds.empty() || assets.tokenizerConfig.empty())
    return defaults.eosIds;
  auto config = nlohmann::json::parse(assets.tokenizerConfig, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object() || !config.contains("eos_token"))
    return defaults.eosIds;
  nlohmann::json token = config["eos_token"];
  if (token.is_object() && token.contains("content"))
    token = nlohmann::json(token["content"]);
  if (token.is_string())
    if (std::optional<int32_t> id = tokenizer.tokenId(token.get<std::string>()))
      defaults.eosIds.push_back(*id);
  return defaults.eosIds;
}

Result<std::string> StreamDecoder::push(int32_t id) {
  window.push_back(id);
  return newText(/*atEnd=*/false);
}

Result<std::string> StreamDecoder::finish() { return newText(/*atEnd=*/true); }

Result<std::string> StreamDecoder::newText(bool atEnd) {
  FUSEBOX_ASSIGN(std::string text, tokenizer.decode(window, skipSpecial));
  // Trailing U+FFFD may be the first bytes of a character: at most three bytes, so at most three of them.
  constexpr std::string_view replacement = "\xEF\xBF\xBD";
  size_t stable = text.size();
  for (int held = 0; !atEnd && held < 3 && std::string_view(text).substr(0, stable).ends_with(replacement);
       ++held)
    stable -= replacement.size();
  if (stable < printed)
    return std::string();
  std::string fresh = text.substr(printed, stable - printed);
  printed = stable;
  if (stable == text.size()) {
    // All is printed, so what came before the newest ids is context no more, unless they print nothing by
    // themselves: then the next token would stand at a beginning.
    std::vector<int32_t> newest(window.begin() + ptrdiff_t(contextIds), window.end());
    FUSEBOX_ASSIGN(std::string context, tokenizer.decode(newest, skipSpecial));
    if (!context.empty()) {
      window = std::move(newest);
      contextIds = window.size();
      printed = context.size();
    }
  }
  return fresh;
}
