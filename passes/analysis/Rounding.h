// Rounding errors as counts: how many roundings lie between a region's input and what it computes, and what
// they can do. docs/check.md has the derivation.
#pragma once

#include "passes/analysis/Facts.h"

namespace fusebox {

/// Unit roundoff: half the distance between neighbours at 1.
double unitRoundoff(DType type);
/// The largest finite value.
double largestValue(DType type);

/// Variance of one rounding of v is kappa·u²·v², over mantissas that are uniform in the logarithm.
inline constexpr double kappa = 0.18;

/// Roundings on one side of a product, from the region's input on.
struct RoundingCounts {
  double growth = 1;   ///< P = Π(1 + w u): by how much a magnitude can grow; P − 1 bounds the relative error
  double weighted = 0; ///< C = Σ w
  double onHidden = 0; ///< c_h: roundings of the normed hidden vector, for variances
  double others = 0;   ///< c: the other ones
  bool hasWorstCase = true; ///< false where cancellation before a norm leaves a relative error unbounded

  /// A rounding of weight w; `hidden`: of the normed hidden vector.
  void add(double u, double w = 1, bool hidden = false);
  /// A rounding before a norm: it counts for variances; no worst case exists.
  void addBeforeNorm();
  double variance() const { return onHidden + others; }
};

/// Rounding contracts that a verdict may speak of. Reference: the model's own rounding points, as HF's code
/// has them.
enum class Contract { Exact, Wide, Fast, Reference };
inline constexpr Contract fusionContracts[] = {Contract::Exact, Contract::Wide, Contract::Fast};
std::string_view contractName(Contract contract);

/// Roundings of q (k has the same) on their way to the scores: from the projection's output where there is a
/// QK-norm, from the input norm's output on (the norm included) where there is none.
RoundingCounts scoreCounts(const ModelFacts &facts, Contract contract);
/// How often eager attention rounds the scores themselves: 0 under sdpa, 1 if the scale is a power of two,
/// else 2.
int scoreRoundings(const ModelFacts &facts, Contract contract);

/// Roundings of a normed vector on its way into a linear layer and of that layer's result.
RoundingCounts normLinearCounts(const ModelFacts &facts, Contract contract);

} // namespace fusebox
