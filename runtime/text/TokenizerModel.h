// What a tokenizer's model does; Tokenizer (Tokenizer.h) holds one. Implemented by HuggingFaceModel.cpp
// (tokenizer.json) and SentencePieceModel.cpp (tokenizer.model).
#pragma once

#include "support/Result.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fusebox {

/// Safe to use from several threads at once.
class TokenizerModel {
public:
  virtual ~TokenizerModel() = default;

  virtual Result<std::vector<int32_t>> encode(std::string_view text, bool addSpecial) const = 0;
  virtual Result<std::string> decode(std::span<const int32_t> ids, bool skipSpecial) const = 0;
  virtual int32_t vocabSize() const = 0;
  virtual bool isSpecial(int32_t id) const = 0;
  virtual std::optional<int32_t> tokenId(std::string_view text) const = 0;
  virtual std::optional<std::string> tokenText(int32_t id) const = 0;
};

/// Reads a tokenizer.json.
Result<std::unique_ptr<TokenizerModel>> openHuggingFaceModel(std::string_view tokenizerJson);

/// Reads a SentencePiece tokenizer.model; `tokenizerConfigJson` (may be empty) says which tokens were added
/// and whether BOS and EOS are.
Result<std::unique_ptr<TokenizerModel>> openSentencePieceModel(std::string_view model,
                                                               std::string_view tokenizerConfigJson);

} // namespace fusebox
