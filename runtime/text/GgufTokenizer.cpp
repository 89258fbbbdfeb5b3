#include "runtime/text/GgufTokenizer.h"

#include "runtime/text/SentencePieceEncoder.h"
#include "runtime/text/Utf8.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

using namespace fusebox;
using nlohmann::json;

namespace {

enum TokenType { Normal = 1, Unknown = 2, Control = 3, UserDefined = 4, Unused = 5, Byte = 6 };

Error bad(const std::string &key, const std::string &what) {
  return modelError("GGUF: tokenizer.ggml." + key + ": " + what);
}

int32_t typeOf(const GgufTokenizerData &data, size_t id) {
  return data.tokenTypes.empty() ? Normal : data.tokenTypes[id];
}

// How a byte-level model cuts text into words before merging, and whether it keeps whole words that are
// tokens.
struct PreTokenizer {
  std::string_view pattern;    ///< empty: GPT-2's own, built into the ByteLevel step
  bool splitDigits = false;    ///< each digit alone, before the pattern
  bool composeUnicode = false; ///< NFC first
  bool wholeWords = false;
};

constexpr std::string_view qwenPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view llama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view tekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// The values of `pre` and what the models' own tokenizer.json files do.
constexpr std::array<std::pair<std::string_view, PreTokenizer>, 11> preTokenizers = {{
    {"gpt-2", {}},
    {"default", {}},
    {"smollm", {.pattern = "", .splitDigits = true}},
    {"starcoder", {.pattern = "", .splitDigits = true}},
    {"refact", {.pattern = "", .splitDigits = true}},
    {"qwen2", {.pattern = qwenPattern, .composeUnicode = true}},
    {"deepseek-r1-qwen", {.pattern = qwenPattern, .composeUnicode = true}},
    {"llama-bpe", {.pattern = llama3Pattern, .wholeWords = true}},
    {"llama3", {.pattern = llama3Pattern, .wholeWords = true}},
    {"llama-v3", {.pattern = llama3Pattern, .wholeWords = true}},
    {"tekken", {.pattern = tekkenPattern, .wholeWords = true}},
}};

Result<PreTokenizer> findPreTokenizer(const std::string &name) {
  std::string known;
  for (const auto &[candidate, pre] : preTokenizers) {
    if (candidate == (name.empty() ? "default" : name))
      return pre;
    known += (known.empty() ? "" : ", ") + std::string(candidate);
  }
  return bad("pre", "'" + name + "' is not supported; known: " + known +
                        "; use the model's Hugging Face folder, which has a tokenizer.json");
}

json byteLevel(bool useRegex) {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", useRegex}};
}

json preTokenizerJson(const PreTokenizer &pre) {
  json steps = json::array();
  if (pre.splitDigits)
    steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
  if (!pre.pattern.empty())
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", pre.pattern}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  steps.push_back(byteLevel(pre.pattern.empty()));
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

/// Puts BOS before and EOS after the text, where the file says so.
json postProcessorJson(const GgufTokenizerData &data, bool addBos) {
  json single = json::array(), special = json::object();
  auto place = [&](uint32_t id) {
    const std::string &text = data.tokens[id];
    single.push_back({{"SpecialToken", {{"id", text}, {"type_id", 0}}}});
    special[text] = {{"id", text}, {"ids", {id}}, {"tokens", {text}}};
  };
  if (addBos && data.bosId)
    place(*data.bosId);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  if (data.addEos.value_or(false) && data.eosId)
    place(*data.eosId);
  json pair = single;
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
}

Result<json> bpeJson(const GgufTokenizerData &data, bool wholeWords) {
  json vocabulary = json::object(), merges = json::array();
  for (size_t id = 0; id < data.tokens.size(); ++id)
    if (!vocabulary.emplace(data.tokens[id], id).second)
      return bad("tokens", "token " + std::to_string(id) + " repeats the text of another");
  for (size_t i = 0; i < data.merges.size(); ++i) {
    // A token's own first character may be a space in none of the byte-level vocabularies; the first space
    // separates.
    size_t space = data.merges[i].find(' ', 1);
    if (space == std::string::npos)
      return bad("merges", "entry " + std::to_string(i) + " has no space between its parts");
    merges.push_back({data.merges[i].substr(0, space), data.merges[i].substr(space + 1)});
  }
  return json{{"type", "BPE"},
              {"dropout", nullptr},
              {"unk_token", nullptr},
              {"continuing_subword_prefix", nullptr},
              {"end_of_word_suffix", nullptr},
              {"fuse_unk", false},
              {"byte_fallback", false},
              {"ignore_merges", wholeWords},
              {"vocab", std::move(vocabulary)},
              {"merges", std::move(merges)}};
}

Result<std::string> tokenizerJson(const GgufTokenizerData &data) {
  FUSEBOX_ASSIGN(PreTokenizer pre, findPreTokenizer(data.pre));
  FUSEBOX_ASSIGN(json model, bpeJson(data, pre.wholeWords));
  json added = json::array();
  for (size_t id = 0; id < data.tokens.size(); ++id)
    if (int32_t type = typeOf(data, id); type == Control || type == UserDefined || type == Unknown)
      added.push_back({{"id", id},
                       {"content", data.tokens[id]},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", type != UserDefined}});
  // Llama 3's files of the first months lack the key; its tokenizer begins every text with BOS.
  bool addBos = data.addBos.value_or(pre.wholeWords && pre.pattern == llama3Pattern);
  json file = {{"version", "1.0"},
               {"truncation", nullptr},
               {"padding", nullptr},
               {"added_tokens", std::move(added)},
               {"normalizer", pre.composeUnicode ? json{{"type", "NFC"}} : json()},
               {"pre_tokenizer", preTokenizerJson(pre)},
               {"post_processor", postProcessorJson(data, addBos)},
               {"decoder", byteLevel(true)},
               {"model", std::move(model)}};
  return file.dump();
}

Result<std::string> tokenizerModel(const GgufTokenizerData &data) {
  if (data.scores.size() != data.tokens.size())
    return bad("scores", "has " + std::to_string(data.scores.size()) +
                             " entries, expected one for each of the " + std::to_string(data.tokens.size()) +
                             " tokens");
  SentencePieceProto proto;
  proto.algorithm = SentencePieceProto::Algorithm::Bpe;
  proto.normalizer.addDummyPrefix = data.addSpacePrefix.value_or(true);
  proto.normalizer.removeExtraWhitespace = data.removeExtraWhitespace.value_or(false);
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    int32_t type = typeOf(data, id);
    if (data.unknownId == id)
      type = Unknown;
    proto.byteFallback |= type == Byte;
    proto.pieces.push_back({data.tokens[id], data.scores[id], SentencePieceProto::PieceType(type)});
  }
  // What the reader of tokenizer.model would refuse is refused here, where the message can say GGUF.
  if (auto encoder = SentencePieceEncoder::create(proto); !encoder)
    return bad("tokens", encoder.error().message);
  return serializeSentencePieceProto(proto);
}

/// The parts of tokenizer_config.json that the metadata has an equivalent for.
json tokenizerConfig(const GgufTokenizerData &data) {
  json config = json::object();
  auto name = [&](const char *key, std::optional<uint32_t> id) {
    if (id)
      config[key] = data.tokens[*id];
  };
  name("bos_token", data.bosId);
  name("eos_token", data.eosId);
  name("unk_token", data.unknownId);
  name("pad_token", data.padId);
  if (data.model != "llama")
    return config;
  config["tokenizer_class"] = "LlamaTokenizer";
  config["add_bos_token"] = data.addBos.value_or(true);
  config["add_eos_token"] = data.addEos.value_or(false);
  json added = json::object();
  for (size_t id = 0; id < data.tokens.size(); ++id)
    if (typeOf(data, id) == Control)
      added[std::to_string(id)] = {{"content", data.tokens[id]}, {"special", true}};
  config["added_tokens_decoder"] = std::move(added);
  return config;
}

/// Ids that end a text. The metadata names one or two; a chat model's turn may end with another control
/// token, known by its text (ggml-org/llama.cpp src/llama-vocab.cpp finds them so, too).
json endIds(const GgufTokenizerData &data) {
  static constexpr std::array<std::string_view, 7> turnEnds = {
      "<|im_end|>",    "<|eot_id|>",      "<|end|>",   "<end_of_turn>",
      "<|endoftext|>", "<|end_of_text|>", "<|eom_id|>"};
  std::set<uint32_t> ids;
  for (auto id : {data.eosId, data.eotId})
    if (id)
      ids.insert(*id);
  for (size_t id = 0; id < data.tokens.size(); ++id)
    if (typeOf(data, id) == Control && std::ranges::find(turnEnds, data.tokens[id]) != turnEnds.end())
      ids.insert(uint32_t(id));
  return ids;
}

Result<void> checkData(const GgufTokenizerData &data) {
  if (!data.tokenTypes.empty() && data.tokenTypes.size() != data.tokens.size())
    return bad("token_type", "has " + std::to_string(data.tokenTypes.size()) +
                                 " entries, expected one for each of the " +
                                 std::to_string(data.tokens.size()) + " tokens");
  for (size_t id = 0; id < data.tokenTypes.size(); ++id)
    if (data.tokenTypes[id] < Normal || data.tokenTypes[id] > Byte)
      return bad("token_type", "token " + std::to_string(id) + " has the unknown type " +
                                   std::to_string(data.tokenTypes[id]));
  for (size_t id = 0; id < data.tokens.size(); ++id)
    if (data.tokens[id].empty() || !isUtf8(data.tokens[id]))
      return bad("tokens", "token " + std::to_string(id) + " is empty or not UTF-8");
  for (const std::string &merge : data.merges)
    if (!isUtf8(merge))
      return bad("merges", "an entry is not UTF-8");
  for (auto id : {data.bosId, data.eosId, data.eotId, data.unknownId, data.padId})
    if (id && *id >= data.tokens.size())
      return bad("*_token_id",
                 std::to_string(*id) + " is outside the " + std::to_string(data.tokens.size()) + " tokens");
  return {};
}

} // namespace

Result<TextAssets> fusebox::textAssetsFromGguf(const GgufTokenizerData &data) {
  TextAssets assets;
  if (data.model.empty())
    return assets;
  FUSEBOX_TRY(checkData(data));
  if (data.model == "gpt2") {
    assets.kind = TokenizerKind::HuggingFace;
    FUSEBOX_ASSIGN(assets.tokenizer, tokenizerJson(data));
  } else if (data.model == "llama") {
    assets.kind = TokenizerKind::SentencePiece;
    FUSEBOX_ASSIGN(assets.tokenizer, tokenizerModel(data));
  } else {
    return bad("model", "'" + data.model + "' is not supported; gpt2 and llama are");
  }
  assets.tokenizerConfig = tokenizerConfig(data).dump();
  assets.chatTemplate = data.chatTemplate;
  assets.generationConfig = json{{"eos_token_id", endIds(data)}}.dump();
  return assets;
}
