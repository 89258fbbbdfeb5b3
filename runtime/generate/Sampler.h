// Choosing the next token from logits: greedy, or the usual chain of filters and one random draw.
//
// The chain runs in llama.cpp's order: repeat penalty, top-k, top-p, min-p, temperature, draw. Everything is
// computed in f64 from f32 logits with a generator of our own, so a seed gives the same text on every
// machine.
#pragma once

#include "runtime/plan/Program.h"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace fusebox {

/// Defaults are llama.cpp's.
struct SamplingOptions {
  double temperature = 0.8;   ///< 0: greedy
  int32_t topK = 40;          ///< keep the k most likely; 0: all
  double topP = 0.95;         ///< keep the smallest set of at least this probability; 1: all
  double minP = 0.05;         ///< keep tokens of at least this share of the best one's probability; 0: all
  double repeatPenalty = 1.0; ///< divides positive and multiplies negative logits of recent tokens; 1: none
  int32_t repeatLast = 64;    ///< how many recent tokens the penalty sees
  uint64_t seed = 0;
};

/// A sampler of one sequence.
class Sampler {
public:
  explicit Sampler(const SamplingOptions &options) : options(options), state(options.seed) {}

  /// The next token for `logits` [vocabulary], f32. Of equal logits the lowest id wins. `recent` are the
  /// tokens the repeat penalty looks back on, newest last. NaN logits are never chosen.
  int32_t sample(std::span<const float> logits, std::span<const int32_t> recent);

  /// How many of the largest logits sampleRanked() is likely to need; 0 if it needs all.
  uint32_t ranksNeeded() const;

  /// The token that sample() would choose, from the largest logits alone: `top` in order (larger first, of
  /// equal ones the lower id), NaNs left out; `complete` if there are no others; `weightSum` is the sum of
  /// exp(logit − largest logit) over all logits to a relative 1e-4, or NaN. Nothing, and no draw, where they
  /// can't prove which token that is: then sample() must see all logits.
  std::optional<int32_t> sampleRanked(std::span<const plan::SelectedValue> top, bool complete,
                                      float weightSum, std::span<const int32_t> recent);

private:
  using Candidate = std::pair<double, int32_t>; ///< logit, id
  /// What is known of the sum of the kept candidates' weights, exp(logit − best logit).
  struct WeightRange {
    double low, high;
  };

  double uniform();
  bool penalises(std::span<const int32_t> recent) const;
  std::span<const int32_t> penalised(std::span<const int32_t> recent) const;
  std::optional<WeightRange> weightOfAll(double largest, double weightSum, Candidate last,
                                         std::span<const plan::SelectedValue> top,
                                         std::span<const int32_t> recent) const;
  bool filter(WeightRange total, bool complete);
  int32_t draw();

  SamplingOptions options;
  uint64_t state;
  std::vector<Candidate> candidates;
};

/// The id of the largest logit, the lowest id on a tie; 0 if all are NaN.
int32_t argmax(std::span<const float> logits);

} // namespace fusebox
