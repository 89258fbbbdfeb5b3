#include "runtime/generate/Sampler.h"

#include <algorithm>
#include <cmath>

using namespace fusebox;

int32_t fusebox::argmax(std::span<const float> logits) {
  int32_t best = 0;
  float value = -INFINITY;
  for (size_t id = 0; id < logits.size(); ++id)
    if (logits[id] > value) {
      value = logits[id];
      best = int32_t(id);
    }
  return best;
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014), 53 bits in [0, 1).
double Sampler::uniform() {
  uint64_t z = (state += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return double((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static bool moreLikely(const std::pair<double, int32_t> &a, const std::pair<double, int32_t> &b) {
  return a.first != b.first ? a.first > b.first : a.second < b.second;
}

static void applyRepeatPenalty(std::vector<std::pair<double, int32_t>> &candidates,
                               std::span<const int32_t> recent, double penalty) {
  std::vector<int32_t> ids(recent.begin(), recent.end());
  std::sort(ids.begin(), ids.end());
  for (auto &[logit, id] : candidates)
    if (std::binary_search(ids.begin(), ids.end(), id))
      logit = logit > 0 ? logit / penalty : logit * penalty;
}

int32_t Sampler::sample(std::span<const float> logits, std::span<const int32_t> recent) {
  bool penalised = options.repeatPenalty != 1.0 && options.repeatLast > 0 && !recent.empty();
  if (options.temperature <= 0 && !penalised)
    return argmax(logits);

  candidates.clear();
  for (size_t id = 0; id < logits.size(); ++id)
    if (!std::isnan(logits[id]))
      candidates.emplace_back(logits[id], int32_t(id));
  if (candidates.empty())
    return 0;
  if (penalised)
    applyRepeatPenalty(candidates, recent.last(std::min(recent.size(), size_t(options.repeatLast))),
                       options.repeatPenalty);
  if (options.temperature <= 0)
    return std::min_element(candidates.begin(), candidates.end(), moreLikely)->second;

  size_t kept = options.topK > 0 ? std::min(candidates.size(), size_t(options.topK)) : candidates.size();
  std::partial_sort(candidates.begin(), candidates.begin() + kept, candidates.end(), moreLikely);
  candidates.resize(kept);

  // top-p and min-p look at the probabilities before the temperature.
  double best = candidates.front().first, total = 0;
  for (auto &candidate : candidates)
    total += std::exp(candidate.first - best);
  double sum = 0;
  size_t count = 0;
  while (count < kept) {
    double weight = std::exp(candidates[count].first - best);
    if (count > 0 && (sum >= options.topP * total || weight < options.minP))
      break;
    sum += weight;
    ++count;
  }
  candidates.resize(count);

  total = 0;
  for (auto &candidate : candidates)
    total += std::exp((candidate.first - best) / options.temperature);
  double draw = uniform() * total;
  for (auto &candidate : candidates) {
    draw -= std::exp((candidate.first - best) / options.temperature);
    if (draw < 0)
      return candidate.second;
  }
  return candidates.back().second;
}
