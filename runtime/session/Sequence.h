// One sequence of a session: tokens are appended in chunks, logits come back.
#pragma once

#include "runtime/session/Session.h"
#include "support/Result.h"

#include <functional>
#include <span>

namespace fusebox {

/// Called after each chunk with the number of tokens done so far; false stops with ErrorKind::Resource
/// ("cancelled").
using ChunkDone = std::function<bool(size_t done)>;

/// A slot of a session, seen as a growing text. The slot is emptied at both ends of the object's life.
class Sequence {
public:
  explicit Sequence(Session &session, uint32_t slot = 0);
  ~Sequence();
  Sequence(const Sequence &) = delete;

  uint32_t length() const { return session.length(slot); }
  uint32_t vocabulary() const { return session.model().vocabulary; }
  /// Tokens that can still be appended.
  uint32_t room() const { return session.contextTokens() - length(); }

  /// Appends tokens in chunks of at most the session's maxStepTokens; returns the last one's logits, the only
  /// ones computed. The chunks' size does not show in the bits on the CPU. What exceeds the context is
  /// refused whole.
  Result<Logits> append(std::span<const int32_t> tokens, const ChunkDone &done = {});

  /// The same with the `count` largest logits of the last token only (Session::stepRanked).
  Result<RankedLogits> appendRanked(std::span<const int32_t> tokens, uint32_t count,
                                    const ChunkDone &done = {});

  /// All logits of the last token appended.
  Result<Logits> lastLogits() { return session.lastLogits(); }

  /// Appends tokens and hands out the logits of all: `take(first, logits)` gets those of tokens
  /// [first, first + logits.rows) of `tokens`, chunk by chunk.
  Result<void> appendAll(std::span<const int32_t> tokens,
                         const std::function<Result<void>(size_t first, const Logits &logits)> &take);

  /// Forgets all but the first `length` tokens.
  Result<void> truncate(uint32_t length) { return session.truncate(slot, length); }

private:
  Session &session;
  uint32_t slot;

  Result<void> checkRoom(size_t tokens) const;
  template <class Step> auto appendChunks(std::span<const int32_t> tokens, const ChunkDone &done, Step step);
  Batch chunkOf(std::span<const int32_t> tokens, std::span<const int32_t> rows);
  int32_t chunkStarts[2] = {}, chunkSlots[1] = {}; ///< of the step under way
};

} // namespace fusebox
