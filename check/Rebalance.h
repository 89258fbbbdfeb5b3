// Rebalancing: powers of two moved between q and k, rotary pair by rotary pair, so that neither side is much
// larger than the other. Scores, and with them every output of the standard plan, keep their bits;
// certificates stay as they are; the heuristic score, which looks at one side at a time, improves.
#pragma once

#include "passes/analysis/Heuristic.h"
#include "passes/analysis/Measures.h"
#include "support/Result.h"

#include <string>
#include <vector>

namespace fusebox {

/// What one layer's q is multiplied by, as exponents of two; k by the inverse.
struct LayerBalance {
  /// By group, then by element of a head. One group where q and k are normed per head (all heads share
  /// gains), else one a key head; the group's query heads share it. Both elements of a rotary pair have the
  /// same exponent.
  std::vector<std::vector<int>> exponents;
  int64_t moved = 0; ///< pairs with an exponent that isn't 0
  int64_t held = 0;  ///< pairs that would have moved, but whose values can't hold the result exactly
};

struct Balance {
  std::vector<LayerBalance> layers;
  /// The largest quotient between the two sides of a pair, whichever is larger; as they are, and levelled.
  double unevenBefore = 1, unevenAfter = 1;
  int64_t moved() const;
  int64_t held() const;
};

/// Levels q and k norms' gains. A pair is held if a stored value, of the type and convention the facts name,
/// can't hold its multiple exactly.
Balance levelGains(const ModelFacts &facts);
/// Levels what the rows of W_q and W_k can reach, for models without norms of q and k.
Balance levelRows(const ModelFacts &facts, const ModelMeasures &measures);
/// The one of the two that fits the model.
Balance levelModel(const ModelFacts &facts, const ModelMeasures &measures);

/// The gain as stored (less 1 by that convention) times 2^exponent: exact in `type`'s normal range?
bool holdsExactly(double gain, int exponent, GainConvention convention, DType type);

/// The heuristic of the model as it would be after `balance`.
Heuristic heuristicAfter(const ModelFacts &facts, const Balance &balance, const HeuristicLimits &limits);

/// The result of rebalancing a model's folder.
struct RebalanceResult {
  Balance balance;
  Heuristic before, after;
  std::string note; ///< why pairs were held; empty if none was
};

/// Writes the model of folder `model`, rebalanced, to folder `out`: safetensors files rewritten atomically,
/// files beside them copied. Fails with ErrorKind::Usage if `out` holds a model already or `model` is a GGUF.
Result<RebalanceResult> rebalanceModel(const std::string &model, const std::string &out,
                                       const HeuristicLimits &limits = {});

} // namespace fusebox
