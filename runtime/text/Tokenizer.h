// Text to token ids and back, for a model's own tokenizer. Used by the runtime, the C interface and the tool.
#pragma once

#include "runtime/text/TextAssets.h"
#include "runtime/text/TokenizerModel.h"

#include <future>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fusebox {

/// An open tokenizer. Cheap to copy (copies share one model); safe to use from several threads at once.
class Tokenizer {
public:
  /// Fails with ErrorKind::Usage for TokenizerKind::None, ErrorKind::Model for a file that can't be used.
  static Result<Tokenizer> open(const TextAssets &assets);
  static Result<Tokenizer> fromHuggingFaceJson(std::string_view tokenizerJson);
  /// `tokenizerConfigJson` may be empty.
  static Result<Tokenizer> fromSentencePiece(std::string_view model, std::string_view tokenizerConfigJson);

  /// Ids of `text` (UTF-8; anything else is an error). Special tokens spelled out in the text become their
  /// ids. `addSpecial` adds what the tokenizer puts around a text, e.g. BOS; chat templates bring their own.
  Result<std::vector<int32_t>> encode(std::string_view text, bool addSpecial) const {
    return model->encode(text, addSpecial);
  }
  /// Text of `ids`. Bytes that form no UTF-8 character become U+FFFD; ids outside the vocabulary are dropped.
  Result<std::string> decode(std::span<const int32_t> ids, bool skipSpecial) const {
    return model->decode(ids, skipSpecial);
  }

  /// The largest id plus one; a model's own vocabulary may be padded beyond it.
  int32_t vocabSize() const { return model->vocabSize(); }
  bool isSpecial(int32_t id) const { return model->isSpecial(id); }
  /// The id of a token by its spelling in the vocabulary ("<|im_end|>").
  std::optional<int32_t> tokenId(std::string_view text) const { return model->tokenId(text); }
  /// A token's spelling in the vocabulary.
  std::optional<std::string> tokenText(int32_t id) const { return model->tokenText(id); }

private:
  explicit Tokenizer(std::unique_ptr<TokenizerModel> model) : model(std::move(model)) {}
  std::shared_ptr<const TokenizerModel> model;
};

/// Opens the tokenizer on a thread of its own (a large tokenizer.json takes 0.4 s): start it before the
/// weights are mapped, get() it when the first text arrives.
std::future<Result<Tokenizer>> openTokenizerAsync(TextAssets assets);

/// The ids that end a text: generation_config's, or the tokenizer's `eos_token` when it names none.
Result<std::vector<int32_t>> endOfTextIds(const TextAssets &assets, const Tokenizer &tokenizer);

/// Turns generated ids into text piece by piece. The pieces joined are decode() of all ids; a piece never
/// ends inside a UTF-8 character.
class StreamDecoder {
public:
  StreamDecoder(Tokenizer tokenizer, bool skipSpecial)
      : tokenizer(std::move(tokenizer)), skipSpecial(skipSpecial) {}

  /// The text that `id` completes; empty while a character is unfinished.
  Result<std::string> push(int32_t id);
  /// What is left at the end: an unfinished character as U+FFFD.
  Result<std::string> finish();

private:
  Result<std::string> newText(bool atEnd);

  Tokenizer tokenizer;
  bool skipSpecial;
  // Only the last few ids are decoded again. The first `contextIds` of `window` are printed already; they
  // stay because a decoder may print a token differently at the beginning of a text.
  std::vector<int32_t> window;
  size_t contextIds = 0;
  size_t printed = 0; ///< bytes of the window's text that have been returned
};

} // namespace fusebox
