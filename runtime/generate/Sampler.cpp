#include "runtime/generate/Sampler.h"

#include <algorithm>
#include <cmath>

using namespace fusebox;

int32_t fusebox::argmax(std::span<const float> logits) {
  size_t best = 0;
  while (best + 1 < logits.size() && std::isnan(logits[best]))
    ++best;
  float value = logits.empty() ? NAN : logits[best];
  for (size_t id = best + 1; id < logits.size(); ++id)
    if (logits[id] > value) {
      value = logits[id];
      best = id;
    }
  return std::isnan(value) ? 0 : int32_t(best);
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

/// Sum of exp(logit − largest logit) over sorted candidates.
static double weightOf(const std::vector<std::pair<double, int32_t>> &candidates) {
  double total = 0;
  for (auto &candidate : candidates)
    total += std::exp(candidate.first - candidates.front().first);
  return total;
}

static void applyRepeatPenalty(std::vector<std::pair<double, int32_t>> &candidates,
                               std::span<const int32_t> recent, double penalty) {
  std::vector<int32_t> ids(recent.begin(), recent.end());
  std::sort(ids.begin(), ids.end());
  for (auto &[logit, id] : candidates)
    if (std::binary_search(ids.begin(), ids.end(), id))
      logit = logit > 0 ? logit / penalty : logit * penalty;
}

bool Sampler::penalises(std::span<const int32_t> recent) const {
  return options.repeatPenalty != 1.0 && options.repeatLast > 0 && !recent.empty();
}

/// The tokens that the penalty sees.
std::span<const int32_t> Sampler::penalised(std::span<const int32_t> recent) const {
  return recent.last(std::min(recent.size(), size_t(options.repeatLast)));
}

int32_t Sampler::sample(std::span<const float> logits, std::span<const int32_t> recent) {
  if (options.temperature <= 0 && !penalises(recent))
    return argmax(logits);

  candidates.clear();
  for (size_t id = 0; id < logits.size(); ++id)
    if (!std::isnan(logits[id]))
      candidates.emplace_back(logits[id], int32_t(id));
  if (candidates.empty())
    return 0;
  if (penalises(recent))
    applyRepeatPenalty(candidates, penalised(recent), options.repeatPenalty);
  if (options.temperature <= 0)
    return std::min_element(candidates.begin(), candidates.end(), moreLikely)->second;

  size_t kept = options.topK > 0 ? std::min(candidates.size(), size_t(options.topK)) : candidates.size();
  std::partial_sort(candidates.begin(), candidates.begin() + ptrdiff_t(kept), candidates.end(), moreLikely);
  candidates.resize(kept);
  double total = weightOf(candidates);
  filter({total, total}, /*complete=*/true);
  return draw();
}

uint32_t Sampler::ranksNeeded() const {
  bool penalty = options.repeatPenalty != 1.0 && options.repeatLast > 0;
  bool raises = penalty && !(options.repeatPenalty >= 1);
  bool keepsMany = options.topK <= 0 || options.topK > 256, cuts = options.topP < 1 || options.minP > 0;
  if (raises || (options.temperature > 0 && keepsMany && !cuts))
    return 0;
  return options.temperature <= 0 && !penalty ? 1 : 256;
}

std::optional<int32_t> Sampler::sampleRanked(std::span<const plan::SelectedValue> top, bool complete,
                                             float weightSum, std::span<const int32_t> recent) {
  if (top.empty())
    return complete ? std::optional<int32_t>(0) : std::nullopt;
  candidates.clear();
  for (const plan::SelectedValue &value : top)
    candidates.emplace_back(value.value, int32_t(value.index));
  // A token that is not listed comes after the last one, and a penalty of at least 1 never raises it: all
  // that stay before the last one keep their places.
  const Candidate last = candidates.back();
  if (penalises(recent)) {
    if (!complete && !(options.repeatPenalty >= 1))
      return std::nullopt;
    applyRepeatPenalty(candidates, penalised(recent), options.repeatPenalty);
    std::sort(candidates.begin(), candidates.end(), moreLikely);
    while (!complete && !candidates.empty() && moreLikely(last, candidates.back()))
      candidates.pop_back();
    if (candidates.empty())
      return std::nullopt;
  }
  if (options.temperature <= 0)
    return candidates.front().second;

  if (size_t most = size_t(options.topK); options.topK > 0 && (complete || most <= candidates.size())) {
    candidates.resize(std::min(most, candidates.size()));
    complete = true;
  }
  WeightRange total = {weightOf(candidates), 0};
  total.high = total.low;
  if (!complete) {
    auto range = weightOfAll(top.front().value, weightSum, last, top, recent);
    if (!range)
      return std::nullopt;
    total = {std::max(total.low, range->low), range->high};
  }
  return filter(total, complete) ? std::optional<int32_t>(draw()) : std::nullopt;
}

/// Bounds of the weights' sum where more tokens are kept than listed: of all tokens, or with a top-k beyond
/// the list of anything from the listed ones' to that.
std::optional<Sampler::WeightRange> Sampler::weightOfAll(double largest, double weightSum, Candidate last,
                                                         std::span<const plan::SelectedValue> top,
                                                         std::span<const int32_t> recent) const {
  constexpr double error = 1e-4;
  double best = candidates.front().first, all = weightSum * std::exp(largest - best);
  if (!std::isfinite(all))
    return std::nullopt;
  WeightRange range = {0, all * (1 + error)};
  if (options.topK > 0)
    return range;
  // Penalties take at most the whole weight of each token they see, and that is at most the last one's if it
  // is not listed.
  range.low = all * (1 - error);
  if (penalises(recent))
    for (int32_t id : penalised(recent)) {
      auto listed =
          std::find_if(top.begin(), top.end(), [&](auto &value) { return int32_t(value.index) == id; });
      range.low -= std::exp((listed == top.end() ? last.first : double(listed->value)) - best);
    }
  return range;
}

/// Top-p and min-p on sorted candidates: they look at the probabilities before the temperature. False if what
/// is known of the total, or a list that goes on, leaves open where to cut.
bool Sampler::filter(WeightRange total, bool complete) {
  double best = candidates.front().first, sum = 0;
  size_t count = 0;
  for (; count < candidates.size(); ++count) {
    double weight = std::exp(candidates[count].first - best);
    if (count > 0 && (weight < options.minP || sum >= options.topP * total.high))
      break;
    if (count > 0 && sum >= options.topP * total.low)
      return false;
    sum += weight;
  }
  if (count == candidates.size() && !complete)
    return false;
  candidates.resize(count);
  return true;
}

/// One of the candidates, by their weights at the temperature.
int32_t Sampler::draw() {
  double best = candidates.front().first, total = 0;
  for (auto &candidate : candidates)
    total += std::exp((candidate.first - best) / options.temperature);
  double left = uniform() * total;
  for (auto &candidate : candidates) {
    left -= std::exp((candidate.first - best) / options.temperature);
    if (left < 0)
      return candidate.second;
  }
  return candidates.back().second;
}
