// The heuristic score: q and k norm weights against fixed limits. It looks at sizes only, and a power of two
// moved between q and k changes it; the certificates (Analysis.h) are what proves anything. docs/check.md
// compares them.
#pragma once

#include "passes/analysis/Facts.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace fusebox {

/// Every number of the heuristic. A profile may replace any.
struct HeuristicLimits {
  double extreme = 10;       ///< a layer whose largest weight exceeds it is extreme
  double ratio = 20;         ///< a layer whose max/median exceeds it is problematic
  double amplification = 10; ///< at and above it that part of the score is 0
  double variance = 10;      ///< likewise
  double errorUnit = 0.001;  ///< estimated error = errorUnit · amplification
  double error = 1.0;        ///< an estimated error above it is INCOMPATIBLE
  double ratioShare = 0.4, amplificationShare = 0.3, extremeShare = 0.2, varianceShare = 0.1;
  double incompatibleBelow = 0.5, warningBelow = 0.8;
};

enum class Status { Compatible, Warning, Incompatible, NotApplicable };
/// "COMPATIBLE", "WARNING", "INCOMPATIBLE", "NOT_APPLICABLE".
std::string_view statusName(Status status);

/// Of one weight vector, by magnitude. A NaN counts as infinite.
struct GainSummary {
  double max = 0, median = 0; ///< the lower median
  double ratio = 0;           ///< max/median; infinite for median 0 and another max; 1 if all are 0
  double variance = 0;        ///< of the signed weights, population; infinite if one is not finite
  int64_t notFinite = 0;      ///< NaNs and infinities
};
GainSummary summariseGain(std::span<const double> gain);

struct HeuristicLayer {
  int64_t layer = 0;
  std::optional<GainSummary> q, k;
  bool problematic = false, extreme = false;
  double max() const;
  double ratio() const;
  double variance() const;
};

struct Heuristic {
  Status status = Status::NotApplicable;
  double score = 0;
  double ratio = 0, variance = 0; ///< largest over layers
  double amplification = 1;       ///< product of the problematic layers' largest weights
  double estimatedError = 0;
  int64_t extremeLayers = 0, notFinite = 0;
  int64_t modelLayers = 0;            ///< all of them, with q and k norms or without
  std::vector<HeuristicLayer> layers; ///< empty if not applicable
  bool applicable() const { return status != Status::NotApplicable; }
};

/// 1 up to half the limit, 0 from the limit on, linear between.
double ramp(double value, double limit);

/// Scores `heuristic` anew from its layers' summaries.
void applyLimits(Heuristic &heuristic, const HeuristicLimits &limits);

Heuristic scoreHeuristic(const ModelFacts &facts, const HeuristicLimits &limits);

} // namespace fusebox
