#include "passes/analysis/Rounding.h"

#include <cmath>
#include <limits>

using namespace fusebox;

double fusebox::unitRoundoff(DType type) {
  switch (type) {
  case DType::BF16:
    return 0x1p-8;
  case DType::F16:
    return 0x1p-11;
  case DType::F64:
    return 0x1p-53;
  default:
    return 0x1p-24;
  }
}

double fusebox::largestValue(DType type) {
  switch (type) {
  case DType::BF16:
    return 0x1.fep127;
  case DType::F16:
    return 65504;
  case DType::F64:
    return std::numeric_limits<double>::max();
  default:
    return double(std::numeric_limits<float>::max());
  }
}

void RoundingCounts::add(double u, double w, bool hidden) {
  growth *= 1 + w * u;
  weighted += w;
  (hidden ? onHidden : others) += 1;
}

void RoundingCounts::addBeforeNorm() {
  others += 1;
  hasWorstCase = false;
}

std::string_view fusebox::contractName(Contract contract) {
  switch (contract) {
  case Contract::Exact:
    return "exact";
  case Contract::Wide:
    return "wide";
  case Contract::Fast:
    return "fast";
  case Contract::Reference:
    return "reference";
  }
  return "";
}

/// The norm's own rounding points, on the normed hidden vector (`hidden`) or on q and k themselves.
static void addNorm(RoundingCounts &counts, const ModelFacts &facts, double u, bool hidden) {
  if (facts.normRounding == NormRounding::NormalisedThenScaled)
    counts.add(u, 1, hidden);
  counts.add(u, 1, hidden);
}

static void addRope(RoundingCounts &counts, const ModelFacts &facts, double u) {
  if (facts.rotaryDim == 0)
    return;
  if (facts.ropeRounding == RopeRounding::Products) {
    // With an attention factor, cos and sin are rounded after it, and no longer share one unit circle.
    counts.add(u, facts.ropeFactor == 1 ? std::sqrt(0.5) : 1.0);
    counts.add(u, std::sqrt(2.0));
  }
  counts.add(u);
}

RoundingCounts fusebox::scoreCounts(const ModelFacts &facts, Contract contract) {
  double u = unitRoundoff(facts.activations);
  RoundingCounts counts;
  if (contract == Contract::Wide) {
    counts.add(u); // f32 inside, one rounding of what the scores read
    return counts;
  }
  bool normedInput = facts.placement != NormPlacement::Post;
  if (facts.qkNorm != QkNorm::None) {
    addNorm(counts, facts, u, false);
  } else {
    if (normedInput)
      addNorm(counts, facts, u, true);
    counts.add(u); // the projection's result
  }
  addRope(counts, facts, u);
  if (contract == Contract::Fast && normedInput) {
    // The input norm's gain folded into the weights, which are rounded anew.
    if (facts.qkNorm != QkNorm::None)
      counts.addBeforeNorm();
    else
      counts.add(u, 1, true);
  }
  return counts;
}

int fusebox::scoreRoundings(const ModelFacts &facts, Contract contract) {
  if (contract == Contract::Wide || facts.attentionRounding == AttentionRounding::Sdpa)
    return 0;
  int exponent;
  return std::frexp(facts.scale, &exponent) == 0.5 ? 1 : 2;
}

RoundingCounts fusebox::normLinearCounts(const ModelFacts &facts, Contract contract) {
  double u = unitRoundoff(facts.activations);
  RoundingCounts counts;
  counts.add(u); // the result
  if (contract == Contract::Wide)
    return counts;
  if (facts.placement != NormPlacement::Post)
    addNorm(counts, facts, u, true);
  if (contract == Contract::Fast)
    counts.add(u, 1, true); // gain folded into the weights, rounded anew
  return counts;
}
