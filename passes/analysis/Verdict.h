// What the analysis says about one node of one layer under one rounding contract: all that fusion reads.
#pragma once

#include "passes/analysis/Rounding.h"

#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace fusebox {

/// What a verdict rests on: a bound that always holds, a variance under stated assumptions, or a run on text.
enum class Basis { Proved, Expected, Measured };
std::string_view basisName(Basis basis);

/// Node names, and the regions they judge. A fused region needs a legal verdict for every node it covers.
namespace node {
inline constexpr std::string_view attnNorm = "attn_norm";         ///< input norm → q, k, v projections
inline constexpr std::string_view scores = "scores";              ///< q, k (norm, RoPE) → attention scores
inline constexpr std::string_view attention = "attention";        ///< softmax and its product with V
inline constexpr std::string_view attnResidual = "attn_residual"; ///< output projection (norm) → residual sum
inline constexpr std::string_view mlpNorm = "mlp_norm";           ///< norm → gate and up projections
inline constexpr std::string_view glu = "glu";                    ///< gate and up → activation · product
inline constexpr std::string_view mlpResidual = "mlp_residual";   ///< down projection (norm) → residual sum
inline constexpr std::string_view logits = "logits";              ///< final norm → lm_head; not of a layer
} // namespace node

inline constexpr double notApplicable = std::numeric_limits<double>::quiet_NaN();
/// The `layer` of verdicts on the model's end.
inline constexpr int64_t noLayer = -1;

struct Verdict {
  int64_t layer = noLayer;
  std::string node;
  Contract contract = Contract::Exact;
  bool legal = false;
  Basis basis = Basis::Proved;
  double range = 0;          ///< no value in the region exceeds it (for `scores`: |s| ≤ R, after the scale)
  double deviationWorst = 0; ///< bound on the deviation of what the region computes; NaN: there is none
  double deviationExpected = 0; ///< its standard deviation, under the assumptions docs/check.md states
  double kl = notApplicable; ///< expected KL divergence in nat, ½σ²; NaN where nothing becomes a distribution
  bool semanticsProved = true, rangeProved = true;
  bool fitsFp16 = true; ///< the region's intermediates stay below 65504, were they fp16
  std::string reason;
};

} // namespace fusebox
