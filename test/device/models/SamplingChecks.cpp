// Text that is sampled from what the device finds is the text that all logits give.
#include "runtime/generate/Sampler.h"
#include "runtime/session/Sequence.h"
#include "test/device/models/Models.h"

#include <algorithm>

namespace fusebox::gpumodels {

namespace {

constexpr size_t tokens = 60;

/// Text from all logits, copied to the host.
std::vector<int32_t> fromAll(Session &session, const SamplingOptions &options) {
  Sequence sequence(session);
  Sampler sampler(options);
  std::vector<int32_t> text = {1, 2, 3, 4, 5};
  Logits logits = expect(sequence.append(text));
  while (text.size() < tokens) {
    text.push_back(sampler.sample(logits.row(0), text));
    logits = expect(sequence.append({&text.back(), 1}));
  }
  return text;
}

/// Text from what the device finds; all logits are fetched only where that does not decide. Counts the tokens
/// it did.
std::vector<int32_t> fromLargest(Session &session, const SamplingOptions &options, size_t &decided) {
  Sequence sequence(session);
  Sampler sampler(options);
  uint32_t asked = std::min(std::max(sampler.ranksNeeded(), 1u), sequence.vocabulary());
  std::vector<int32_t> text = {1, 2, 3, 4, 5};
  RankedLogits ranked = expect(sequence.appendRanked(text, asked));
  while (text.size() < tokens) {
    auto id = sampler.sampleRanked(ranked.row(0), asked == sequence.vocabulary(), ranked.weightSum(0), text);
    decided += id.has_value();
    text.push_back(id ? *id : sampler.sample(expect(sequence.lastLogits()).row(0), text));
    ranked = expect(sequence.appendRanked({&text.back(), 1}, asked));
  }
  return text;
}

} // namespace

int checkSampling(const plan::PlanReader &plan, const std::string &name, const std::string &weights) {
  struct Kind {
    const char *name;
    SamplingOptions options;
  };
  const Kind kinds[] = {
      {"greedy", {.temperature = 0}},
      {"default", {}},
      {"repeat penalty", {.repeatPenalty = 1.3}},
      {"greedy with penalty", {.temperature = 0, .repeatPenalty = 1.5}},
      {"penalty below 1", {.repeatPenalty = 0.8}},
      {"no top-k", {.temperature = 1.5, .topK = 0, .minP = 0}},
      {"top-k 1000", {.temperature = 1.2, .topK = 1000, .topP = 0.99, .minP = 0}},
      {"all tokens", {.temperature = 1, .topK = 0, .topP = 1, .minP = 0}},
  };
  SessionOptions settings;
  settings.contextTokens = 128;
  auto session = openPlan(plan, weights, settings);
  std::string different;
  size_t decided = 0, all = 0;
  for (const Kind &kind : kinds)
    for (uint64_t seed : {1, 2}) {
      SamplingOptions options = kind.options;
      options.seed = seed;
      std::vector<int32_t> text = fromLargest(*session, options, decided);
      all += text.size() - 5;
      if (text != fromAll(*session, options))
        different += std::string(different.empty() ? "" : ", ") + kind.name;
    }
  return report(name + " sampled text", different.empty(),
                different.empty()
                    ? format("as from all logits; %zu of %zu tokens decided by the largest", decided, all)
                    : "DIFFERS with " + different);
}

} // namespace fusebox::gpumodels
