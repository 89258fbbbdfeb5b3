// The tokenizer of a GGUF file's metadata, written as the file its kind of tokenizer usually comes in: a
// tokenizer.json for "gpt2" (byte-level BPE), a tokenizer.model for "llama" (SentencePiece). So a plan made
// from GGUF holds the same two kinds of tokenizer as one made from a folder. frontends/gguf fills the struct.
#pragma once

#include "runtime/text/TextAssets.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace fusebox {

/// The metadata keys `tokenizer.ggml.*` and `tokenizer.chat_template`, as they stand in the file.
/// Source: ggml-org/ggml docs/gguf.md.
struct GgufTokenizerData {
  std::string model;               ///< "gpt2" or "llama"; empty: the file has no tokenizer
  std::string pre;                 ///< how "gpt2" cuts text before merging: "smollm", "qwen2", "llama-bpe", …
  std::vector<std::string> tokens; ///< index = id
  std::vector<float> scores;       ///< "llama": one a token
  std::vector<int32_t>
      tokenTypes; ///< 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte; may be empty
  std::vector<std::string> merges; ///< "gpt2": "left right", most frequent first
  std::optional<uint32_t> bosId, eosId, eotId, unknownId, padId;
  std::optional<bool> addBos, addEos, addSpacePrefix, removeExtraWhitespace;
  std::string chatTemplate;
};

/// Fails with ErrorKind::Model on inconsistent data or an unsupported `model` or `pre`.
Result<TextAssets> textAssetsFromGguf(const GgufTokenizerData &data);

} // namespace fusebox
