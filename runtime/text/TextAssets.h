// Everything a plan keeps about text: the tokenizer's files, the chat template, generation defaults.
// Made by LoadText.h (folders) and GgufTokenizer.h (GGUF); Tokenizer.h and ChatTemplate.h use it.
#pragma once

#include "support/Result.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace fusebox {

/// Which reader a tokenizer's bytes are for. Values are part of the plan format: append only.
enum class TokenizerKind : uint32_t {
  None = 0,          ///< the model came without a tokenizer; only token ids can be fed
  HuggingFace = 1,   ///< tokenizer.json
  SentencePiece = 2, ///< tokenizer.model
};

struct TextAssets {
  TokenizerKind kind = TokenizerKind::None;
  std::string tokenizer;       ///< bytes of tokenizer.json or tokenizer.model
  std::string tokenizerConfig; ///< tokenizer_config.json with special_tokens_map.json merged in; may be empty
  std::string chatTemplate;    ///< Jinja source; empty for a model that has none
  std::string
      generationConfig; ///< generation_config.json, or what config.json says in its place; may be empty

  bool operator==(const TextAssets &) const = default;
};

/// The bytes of a plan's text section.
std::vector<std::byte> serializeTextAssets(const TextAssets &assets);

/// Reads a plan's text section: untrusted bytes; sizes are checked before use. Fails with ErrorKind::Model.
Result<TextAssets> parseTextAssets(std::span<const std::byte> bytes);

/// What generation_config.json says about ending and sampling.
struct GenerationDefaults {
  std::vector<int32_t> eosIds; ///< any of them ends the text
  bool sample = false;         ///< `do_sample`
  float temperature = 1.0f, topP = 1.0f, minP = 0.0f, repetitionPenalty = 1.0f;
  uint32_t topK = 0; ///< 0: all tokens
};

/// Absent keys keep the defaults above; `eos_token_id` is a number or a list. Values of a wrong type are
/// errors.
Result<GenerationDefaults> readGenerationDefaults(const TextAssets &assets);

} // namespace fusebox
