#include "frontends/gguf/GgufTokenizer.h"

#include <limits>

using namespace fusebox;

namespace {

/// Reads keys of one prefix; remembers the first whose value has the wrong type.
class KeyReader {
public:
  explicit KeyReader(const GgufMetadata &metadata) : metadata(metadata) {}

  void read(const std::string &key, std::string &out) {
    if (auto value = check(key, metadata.asString(key), "text"))
      out = *value;
  }
  void read(const std::string &key, std::optional<bool> &out) {
    out = check(key, metadata.asBool(key), "true or false");
  }
  void read(const std::string &key, std::optional<uint32_t> &out) {
    std::optional<int64_t> value = metadata.asInteger(key);
    if (value && (*value < 0 || *value > std::numeric_limits<uint32_t>::max()))
      value.reset();
    if (check(key, value, "a token id"))
      out = uint32_t(*value);
  }
  void read(const std::string &key, std::vector<float> &out) {
    if (auto values = check(key, metadata.asReals(key), "a list of numbers"))
      out = std::move(*values);
  }
  void read(const std::string &key, std::vector<int32_t> &out) {
    if (auto values = check(key, metadata.asIntegers(key), "a list of integers"))
      out.assign(values->begin(), values->end());
  }
  void read(const std::string &key, std::vector<std::string> &out) {
    const std::vector<std::string_view> *found = metadata.asStrings(key);
    if (check(key, found ? std::optional(true) : std::nullopt, "a list of texts"))
      out.assign(found->begin(), found->end());
  }

  std::string problem;

private:
  template <typename T>
  std::optional<T> check(const std::string &key, std::optional<T> value, const char *expected) {
    if (!value && metadata.find(key) && problem.empty())
      problem = "the key '" + key + "' must be " + expected;
    return value;
  }

  const GgufMetadata &metadata;
};

} // namespace

Result<GgufTokenizerData> fusebox::readGgufTokenizer(const GgufMetadata &metadata) {
  GgufTokenizerData data;
  KeyReader reader(metadata);
  const std::string prefix = "tokenizer.ggml.";
  reader.read(prefix + "model", data.model);
  reader.read(prefix + "pre", data.pre);
  reader.read(prefix + "tokens", data.tokens);
  reader.read(prefix + "scores", data.scores);
  reader.read(prefix + "token_type", data.tokenTypes);
  reader.read(prefix + "merges", data.merges);
  reader.read(prefix + "bos_token_id", data.bosId);
  reader.read(prefix + "eos_token_id", data.eosId);
  reader.read(prefix + "eot_token_id", data.eotId);
  reader.read(prefix + "unknown_token_id", data.unknownId);
  reader.read(prefix + "padding_token_id", data.padId);
  reader.read(prefix + "add_bos_token", data.addBos);
  reader.read(prefix + "add_eos_token", data.addEos);
  reader.read(prefix + "add_space_prefix", data.addSpacePrefix);
  reader.read(prefix + "remove_extra_whitespaces", data.removeExtraWhitespace);
  reader.read("tokenizer.chat_template", data.chatTemplate);
  if (!reader.problem.empty())
    return modelError(metadata.file.path() + ": " + reader.problem + "; the file is damaged, fetch it again");
  return data;
}
