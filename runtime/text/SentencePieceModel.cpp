// A SentencePiece tokenizer.model with the tokens that tokenizer_config.json adds, as transformers' Python
// tokenizers treat them: text is cut at added tokens, and each stretch between is encoded by the model.
// Source: transformers tokenization_utils.py, models/llama/tokenization_llama.py.

#include "runtime/text/SentencePieceEncoder.h"
#include "runtime/text/TokenizerModel.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

using namespace fusebox;
using nlohmann::json;

namespace {

struct AddedToken {
  std::string text;
  int32_t id = 0;
  bool special = false;
  bool stripLeft = false, stripRight = false; ///< white space beside it is dropped from the neighbouring text
};

class SentencePieceModel final : public TokenizerModel {
public:
  explicit SentencePieceModel(SentencePieceEncoder encoder) : encoder(std::move(encoder)) {}

  Result<void> configure(const json &config);

  Result<std::vector<int32_t>> encode(std::string_view text, bool addSpecial) const override;
  Result<std::string> decode(std::span<const int32_t> ids, bool skipSpecial) const override;
  int32_t vocabSize() const override {
    auto size = int32_t(encoder.pieces().size());
    return added.empty() ? size : std::max(size, added.rbegin()->first + 1);
  }
  bool isSpecial(int32_t id) const override {
    if (auto found = added.find(id); found != added.end())
      return found->second.special;
    return isControl(id);
  }
  std::optional<int32_t> tokenId(std::string_view text) const override;
  std::optional<std::string> tokenText(int32_t id) const override;

private:
  bool isPiece(int32_t id) const { return id >= 0 && size_t(id) < encoder.pieces().size(); }
  bool isControl(int32_t id) const {
    using Type = SentencePieceProto::PieceType;
    return isPiece(id) &&
           (encoder.pieces()[id].type == Type::Control || encoder.pieces()[id].type == Type::Unknown);
  }
  Result<void> addToken(const std::string &idText, const json &token);
  Result<void> addNamedToken(const json &token);
  void insert(AddedToken token);
  const AddedToken *matchAt(std::string_view text) const;
  void encodeStretch(std::string_view text, bool first, std::vector<int32_t> &ids) const;

  SentencePieceEncoder encoder;
  std::map<int32_t, AddedToken> added;
  std::map<std::string, int32_t, std::less<>> addedIds;
  std::array<bool, 256> startsAddedToken{};
  std::optional<int32_t> bos, eos;
  bool addBos = false, addEos = false;
  bool legacy = true;         ///< the dummy prefix goes before every stretch, not only the first
  bool addPrefixSpace = true; ///< used when not legacy
};

Error badConfig(const std::string &key, const std::string &expected) {
  return modelError("tokenizer_config.json: " + key + ": expected " + expected);
}

/// The text of a token given as a string or as an object with `content`; empty when it is neither.
std::string tokenContent(const json &token) {
  const json *content = &token;
  if (token.is_object() && token.contains("content"))
    content = &token["content"];
  return content->is_string() ? content->get<std::string>() : std::string();
}

Result<bool> flag(const json &config, const char *key, bool byDefault) {
  auto found = config.find(key);
  if (found == config.end() || found->is_null())
    return byDefault;
  if (!found->is_boolean())
    return badConfig(key, "true or false");
  return found->get<bool>();
}

bool isSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

void SentencePieceModel::insert(AddedToken token) {
  if (token.text.empty())
    return;
  startsAddedToken[uint8_t(token.text.front())] = true;
  addedIds[token.text] = token.id;
  added[token.id] = std::move(token);
}

/// An entry of `added_tokens_decoder`: "32000": {"content": "<|x|>", "special": true, …}.
Result<void> SentencePieceModel::addToken(const std::string &idText, const json &token) {
  constexpr unsigned long limit = 1ul << 24;
  std::string key = "added_tokens_decoder." + idText;
  bool digits = !idText.empty() && idText.size() <= 8 &&
                std::all_of(idText.begin(), idText.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!digits || std::stoul(idText) >= limit)
    return badConfig(key, "a token id below 2^24");
  if (!token.is_object() || tokenContent(token).empty())
    return badConfig(key, "an object with the token's `content`");
  AddedToken entry;
  entry.text = tokenContent(token);
  entry.id = int32_t(std::stoul(idText));
  FUSEBOX_ASSIGN(entry.special, flag(token, "special", false));
  FUSEBOX_ASSIGN(entry.stripLeft, flag(token, "lstrip", false));
  FUSEBOX_ASSIGN(entry.stripRight, flag(token, "rstrip", false));
  insert(std::move(entry));
  return {};
}

/// A special token named by its text alone: its id is the vocabulary's, or that of an added token.
Result<void> SentencePieceModel::addNamedToken(const json &token) {
  std::string text = tokenContent(token);
  if (text.empty() || addedIds.contains(text))
    return {};
  std::optional<int32_t> id = encoder.pieceId(text);
  if (!id) // transformers gives tokens the vocabulary lacks the next free ids
    id = vocabSize();
  AddedToken entry{text, *id, true};
  if (token.is_object()) {
    FUSEBOX_ASSIGN(entry.stripLeft, flag(token, "lstrip", false));
    FUSEBOX_ASSIGN(entry.stripRight, flag(token, "rstrip", false));
  }
  insert(std::move(entry));
  return {};
}

Result<void> SentencePieceModel::configure(const json &config) {
  if (auto tokens = config.find("added_tokens_decoder"); tokens != config.end() && !tokens->is_null()) {
    if (!tokens->is_object())
      return badConfig("added_tokens_decoder", "an object");
    for (const auto &[id, token] : tokens->items())
      FUSEBOX_TRY(addToken(id, token));
  }
  for (const char *key :
       {"bos_token", "eos_token", "unk_token", "pad_token", "cls_token", "sep_token", "mask_token"})
    if (config.contains(key))
      FUSEBOX_TRY(addNamedToken(config[key]));
  if (auto tokens = config.find("additional_special_tokens"); tokens != config.end() && tokens->is_array())
    for (const json &token : *tokens)
      FUSEBOX_TRY(addNamedToken(token));
  // Llama's and Gemma's tokenizers put BOS first unless told otherwise; ERNIE's adds nothing.
  std::string tokenizerClass =
      config.contains("tokenizer_class") ? tokenContent(config["tokenizer_class"]) : "";
  bool addsBos = tokenizerClass.empty() || tokenizerClass.find("Llama") != std::string::npos ||
                 tokenizerClass.find("Gemma") != std::string::npos;
  FUSEBOX_ASSIGN(addBos, flag(config, "add_bos_token", addsBos));
  FUSEBOX_ASSIGN(addEos, flag(config, "add_eos_token", false));
  FUSEBOX_ASSIGN(legacy, flag(config, "legacy", true));
  FUSEBOX_ASSIGN(addPrefixSpace, flag(config, "add_prefix_space", encoder.addsDummyPrefix()));
  bos = tokenId(config.contains("bos_token") ? tokenContent(config["bos_token"]) : "<s>");
  eos = tokenId(config.contains("eos_token") ? tokenContent(config["eos_token"]) : "</s>");
  return {};
}

/// The longest added token that `text` begins with.
const AddedToken *SentencePieceModel::matchAt(std::string_view text) const {
  if (!startsAddedToken[uint8_t(text.front())])
    return nullptr;
  const AddedToken *longest = nullptr;
  for (const auto &[id, token] : added)
    if (text.starts_with(token.text) && (!longest || token.text.size() > longest->text.size()))
      longest = &token;
  return longest;
}

void SentencePieceModel::encodeStretch(std::string_view text, bool first, std::vector<int32_t> &ids) const {
  bool prefix = legacy ? encoder.addsDummyPrefix() : first && addPrefixSpace;
  std::vector<int32_t> stretch = encoder.encode(text, prefix);
  ids.insert(ids.end(), stretch.begin(), stretch.end());
}

Result<std::vector<int32_t>> SentencePieceModel::encode(std::string_view text, bool addSpecial) const {
  std::vector<int32_t> ids;
  if (addSpecial && addBos && bos)
    ids.push_back(*bos);
  size_t start = 0;
  bool stripFront = false;
  auto flush = [&](size_t end, bool stripBack) {
    size_t first = start, last = end;
    while (stripFront && first < last && isSpace(text[first]))
      ++first;
    while (stripBack && last > first && isSpace(text[last - 1]))
      --last;
    if (first < last)
      encodeStretch(text.substr(first, last - first), start == 0, ids);
  };
  for (size_t at = 0; at < text.size();) {
    const AddedToken *token = matchAt(text.substr(at));
    if (!token) {
      ++at;
      continue;
    }
    flush(at, token->stripLeft);
    ids.push_back(token->id);
    at = start = at + token->text.size();
    stripFront = token->stripRight;
  }
  flush(text.size(), false);
  if (addSpecial && addEos && eos)
    ids.push_back(*eos);
  return ids;
}

Result<std::string> SentencePieceModel::decode(std::span<const int32_t> ids, bool skipSpecial) const {
  std::string text;
  size_t start = 0;
  auto flush = [&](size_t end) { text += encoder.decode(ids.subspan(start, end - start)); };
  // Tokens outside the model's own text break it into runs, each decoded on its own, as each was encoded.
  for (size_t i = 0; i < ids.size(); ++i) {
    bool plain = !added.contains(ids[i]) && !isControl(ids[i]);
    if (plain)
      continue;
    bool isUnknownPiece = !added.contains(ids[i]) && !skipSpecial &&
                          encoder.pieces()[ids[i]].type == SentencePieceProto::PieceType::Unknown;
    if (isUnknownPiece) // decodes to the model's own surface for unknown text
      continue;
    flush(i);
    start = i + 1;
    if (!skipSpecial || !isSpecial(ids[i]))
      text += *tokenText(ids[i]);
  }
  flush(ids.size());
  return text;
}

std::optional<int32_t> SentencePieceModel::tokenId(std::string_view text) const {
  if (auto found = addedIds.find(text); found != addedIds.end())
    return found->second;
  return encoder.pieceId(text);
}

std::optional<std::string> SentencePieceModel::tokenText(int32_t id) const {
  if (auto found = added.find(id); found != added.end())
    return found->second.text;
  if (isPiece(id))
    return encoder.pieces()[id].text;
  return std::nullopt;
}

} // namespace

Result<std::unique_ptr<TokenizerModel>>
fusebox::openSentencePieceModel(std::string_view model, std::string_view tokenizerConfigJson) {
  FUSEBOX_ASSIGN(SentencePieceProto proto, parseSentencePieceProto(model));
  FUSEBOX_ASSIGN(SentencePieceEncoder encoder, SentencePieceEncoder::create(std::move(proto)));
  json config = json::object();
  if (!tokenizerConfigJson.empty())
    config = json::parse(tokenizerConfigJson, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object())
    return modelError("tokenizer_config.json: not a JSON object; fetch the file again");
  auto tokenizer = std::make_unique<SentencePieceModel>(std::move(encoder));
  FUSEBOX_TRY(tokenizer->configure(config));
  return std::unique_ptr<TokenizerModel>(std::move(tokenizer));
}
