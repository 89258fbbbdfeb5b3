#include "runtime/generate/Generate.h"

#include "runtime/generate/StopStrings.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <optional>
#include <utility>

using namespace fusebox;

const char *fusebox::finishReasonName(FinishReason reason) {
  switch (reason) {
  case FinishReason::Stop:
    return "stop";
  case FinishReason::Length:
    return "length";
  case FinishReason::Context:
    return "context";
  case FinishReason::Cancelled:
    return "cancelled";
  }
  return "";
}

namespace {
/// Turns ids into text that may be shown: whole characters, nothing of a stop string.
class TextStream {
public:
  TextStream(const Tokenizer *tokenizer, const std::vector<std::string> &stops) : stops(stops) {
    if (tokenizer)
      decoder.emplace(*tokenizer, /*skipSpecial=*/true);
  }

  Result<std::string> push(int32_t id) {
    if (!decoder)
      return std::string();
    FUSEBOX_ASSIGN(std::string piece, decoder->push(id));
    return stops.push(piece);
  }

  Result<std::string> finish() {
    if (!decoder || stops.stopped())
      return std::string();
    FUSEBOX_ASSIGN(std::string piece, decoder->finish());
    std::string shown = stops.push(piece);
    return stops.stopped() ? shown : shown + stops.finish();
  }

  bool stopped() const { return stops.stopped(); }

private:
  std::optional<StreamDecoder> decoder;
  StopStrings stops;
};

double secondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}
} // namespace

namespace {
/// Appends tokens and chooses the next one: from the largest logits where they suffice, which the device
/// finds, else from all.
class NextToken {
public:
  /// `leads`: lead() will be asked for.
  NextToken(Sequence &sequence, const SamplingOptions &options, uint32_t vocabulary, bool leads)
      : sequence(sequence), sampler(options), vocabulary(vocabulary),
        asked(std::min(sampler.ranksNeeded(), vocabulary)) {
    if (leads && asked == 1)
      asked = std::min(2u, vocabulary);
  }

  Result<void> append(std::span<const int32_t> tokens, const ChunkDone &done = {}) {
    if (asked == 0) {
      FUSEBOX_ASSIGN(logits, sequence.append(tokens, done));
    } else {
      FUSEBOX_ASSIGN(ranked, sequence.appendRanked(tokens, asked, done));
    }
    return {};
  }

  /// By how much the largest logit leads the next one.
  double lead() const {
    if (asked != 0) {
      auto top = ranked.row(0);
      return top.size() < 2 ? std::numeric_limits<double>::infinity()
                            : double(top[0].value) - double(top[1].value);
    }
    double largest = -std::numeric_limits<double>::infinity(), second = largest;
    for (float logit : logits.row(0))
      if (logit > largest)
        second = std::exchange(largest, double(logit));
      else if (logit > second)
        second = double(logit);
    return largest - second;
  }

  Result<int32_t> choose(std::span<const int32_t> history) {
    if (asked != 0) {
      auto top = ranked.row(0);
      bool complete = asked == vocabulary || top.size() < asked;
      if (auto id = sampler.sampleRanked(top, complete, ranked.weightSum(0), history))
        return *id;
      FUSEBOX_ASSIGN(logits, sequence.lastLogits());
    }
    return sampler.sample(logits.row(0), history);
  }

private:
  Sequence &sequence;
  Sampler sampler;
  uint32_t vocabulary, asked;
  Logits logits;
  RankedLogits ranked;
};
} // namespace

/// Chooses and steps until the text ends; `next` has taken the prompt.
static Result<void> decode(Sequence &sequence, NextToken &next, std::span<const int32_t> eosIds,
                           std::vector<int32_t> history, const GenerateOptions &options, TextStream &text,
                           const OnToken &onToken, Generation &generation) {
  for (;;) {
    if (options.certifiedLead >= 0) {
      double lead = next.lead();
      generation.certifiedTokens += lead > options.certifiedLead;
      generation.leastLead = generation.generatedTokens == 0 ? lead : std::min(generation.leastLead, lead);
    }
    FUSEBOX_ASSIGN(int32_t id, next.choose(history));
    ++generation.generatedTokens;
    history.push_back(id);
    bool end = !options.ignoreEos && std::find(eosIds.begin(), eosIds.end(), id) != eosIds.end();
    std::string piece;
    if (!end) {
      FUSEBOX_ASSIGN(piece, text.push(id));
    }
    if (!onToken(id, piece))
      generation.reason = FinishReason::Cancelled;
    else if (end || text.stopped())
      generation.reason = FinishReason::Stop;
    else if (options.maxTokens >= 0 && generation.generatedTokens >= uint32_t(options.maxTokens))
      generation.reason = FinishReason::Length;
    else if (sequence.room() == 0)
      generation.reason = FinishReason::Context;
    else {
      FUSEBOX_TRY(next.append({&id, 1}));
      continue;
    }
    return {};
  }
}

Result<Generation> fusebox::generate(Sequence &sequence, const Tokenizer *tokenizer,
                                     std::span<const int32_t> eosIds, std::span<const int32_t> prompt,
                                     const GenerateOptions &options, const OnToken &onToken) {
  if (prompt.empty())
    return usageError("the prompt is empty: at least one token is needed");
  if (!options.stops.empty() && !tokenizer)
    return usageError("stop strings need a tokenizer, and the model came without one");
  Generation generation;
  generation.promptTokens = uint32_t(prompt.size());
  bool cancelled = false;
  auto start = std::chrono::steady_clock::now();
  NextToken next(sequence, options.sampling, sequence.vocabulary(), options.certifiedLead >= 0);
  Result<void> appended = next.append(prompt, [&](size_t done) {
    cancelled = done < prompt.size() &&
                (!onToken(-1, {}) || (options.promptProgress && !options.promptProgress(done)));
    return !cancelled;
  });
  generation.prefillSeconds = secondsSince(start);
  if (cancelled) {
    generation.reason = FinishReason::Cancelled;
    return generation;
  }
  if (!appended)
    return appended.error();
  if (options.maxTokens == 0)
    return generation;

  TextStream text(tokenizer, options.stops);
  start = std::chrono::steady_clock::now();
  FUSEBOX_TRY(
      decode(sequence, next, eosIds, {prompt.begin(), prompt.end()}, options, text, onToken, generation));
  generation.decodeSeconds = secondsSince(start);
  FUSEBOX_ASSIGN(std::string rest, text.finish());
  if (!rest.empty())
    onToken(-1, rest);
  return generation;
}
