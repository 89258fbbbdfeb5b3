// The compatibility analysis of a model: the heuristic score, a verdict for each node, layer and contract,
// and what follows from them under a policy. Used by the `analyze` pass, `fusebox check`, and at load.
#pragma once

#include "passes/analysis/Heuristic.h"
#include "passes/analysis/Measures.h"
#include "passes/analysis/Semantics.h"
#include "passes/analysis/Verdict.h"

#include <vector>

namespace fusebox {

struct AnalysisOptions {
  HeuristicLimits limits;
  double klBudget = 1e-3; ///< nat, of the whole model; a layer has its share of it
  KernelSemantics kernels;
  unsigned threads = 0; ///< 0: one a core, at most 16
};

/// What `fusebox rebalance` would do (check/Rebalance.h fills it in).
struct Rebalancing {
  int64_t moved = 0, held = 0; ///< rotary pairs that would move, and those whose stored values can't
  double unevenBefore = 1, unevenAfter = 1; ///< largest quotient between the two sides of a pair
  std::optional<Heuristic> heuristic;       ///< afterwards, if the model has q and k norms
};

struct Analysis {
  Heuristic heuristic;
  std::vector<Verdict> verdicts; ///< by metric, layer, contract
  Status certified = Status::Compatible;
  Rebalancing rebalancing;

  /// The verdict, or null.
  const Verdict *find(int64_t layer, std::string_view node, Contract contract) const;
};

/// Reads every weight that a verdict needs: measureWeights and judgeModel.
Analysis analyzeModel(const ModelFacts &facts, const AnalysisOptions &options = {});
/// What follows from what the weights measure.
Analysis judgeModel(const ModelFacts &facts, const ModelMeasures &measures,
                    const AnalysisOptions &options = {});
/// How many threads to read weights with; 0: one a core, at most 16.
unsigned analysisThreads(unsigned wanted);

/// Compatible: every region is legal at wide. Warning: some only at exact. Incompatible: somewhere semantics
/// or range are not proved.
Status certifiedStatus(const std::vector<Verdict> &verdicts);

} // namespace fusebox
