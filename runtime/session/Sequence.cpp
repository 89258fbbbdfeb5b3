#include "runtime/session/Sequence.h"

#include <algorithm>
#include <cassert>
#include <numeric>

using namespace fusebox;

Sequence::Sequence(Session &session, uint32_t slot) : session(session), slot(slot) {
  assert(slot < session.options().slots && "the slot is one of the session's");
  (void)session.truncate(slot, 0);
}

Sequence::~Sequence() { (void)session.truncate(slot, 0); }

Result<void> Sequence::checkRoom(size_t tokens) const {
  if (tokens == 0)
    return usageError("no tokens to append");
  if (tokens > room())
    return resourceError("the context is full: " + std::to_string(length()) + " tokens and " +
                         std::to_string(tokens) + " more exceed its " +
                         std::to_string(session.contextTokens()) +
                         "; use a larger context (-c) or a shorter text");
  return {};
}

/// A step of one sequence.
Batch Sequence::chunkOf(std::span<const int32_t> tokens, std::span<const int32_t> rows) {
  chunkStarts[1] = int32_t(tokens.size());
  chunkSlots[0] = int32_t(slot);
  return {tokens, chunkStarts, chunkSlots, rows};
}

/// Appends tokens in chunks; `step` runs each, its result for the last is the result.
template <class Step>
auto Sequence::appendChunks(std::span<const int32_t> tokens, const ChunkDone &done, Step step) {
  using Answer = decltype(step(Batch()));
  if (auto room = checkRoom(tokens.size()); !room)
    return Answer(room.error());
  size_t chunk = session.options().maxStepTokens;
  for (size_t first = 0;; first += chunk) {
    auto part = tokens.subspan(first, std::min(chunk, tokens.size() - first));
    bool last = first + part.size() == tokens.size();
    const int32_t lastRow[] = {int32_t(part.size()) - 1};
    Answer answer = step(chunkOf(part, std::span(lastRow).first(last ? 1 : 0)));
    if (answer && done && !done(first + part.size()))
      return Answer(resourceError("cancelled"));
    if (!answer || last)
      return answer;
  }
}

Result<Logits> Sequence::append(std::span<const int32_t> tokens, const ChunkDone &done) {
  return appendChunks(tokens, done, [&](const Batch &batch) { return session.step(batch); });
}

Result<RankedLogits> Sequence::appendRanked(std::span<const int32_t> tokens, uint32_t count,
                                            const ChunkDone &done) {
  return appendChunks(tokens, done, [&](const Batch &batch) { return session.stepRanked(batch, count); });
}

Result<void> Sequence::appendAll(std::span<const int32_t> tokens,
                                 const std::function<Result<void>(size_t, const Logits &)> &take) {
  FUSEBOX_TRY(checkRoom(tokens.size()));
  size_t chunk = std::min(session.options().maxStepTokens, session.options().maxLogitsRows);
  std::vector<int32_t> rows(chunk);
  std::iota(rows.begin(), rows.end(), 0);
  for (size_t first = 0; first < tokens.size(); first += chunk) {
    auto part = tokens.subspan(first, std::min(chunk, tokens.size() - first));
    FUSEBOX_ASSIGN(Logits logits, session.step(chunkOf(part, std::span(rows).first(part.size()))));
    FUSEBOX_TRY(take(first, logits));
  }
  return {};
}
