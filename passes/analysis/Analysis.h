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

struct Analysis {
  Heuristic heuristic;
  std::vector<Verdict> verdicts; ///< by metric, layer, contract
  Status certified = Status::Compatible;
  /// The heuristic after rebalancing, if the model has q and k norms, and how many rotary pairs could not be
  /// moved.
  std::optional<Heuristic> rebalanced;
  int64_t rebalanceHeld = 0;

  /// The verdict, or null.
  const Verdict *find(int64_t layer, std::string_view node, Contract contract) const;
};

/// Reads every weight that a verdict needs.
Analysis analyzeModel(const ModelFacts &facts, const AnalysisOptions &options = {});

/// Compatible: every region is legal at wide. Warning: some only at exact. Incompatible: somewhere semantics
/// or range are not proved.
Status certifiedStatus(const std::vector<Verdict> &verdicts);

} // namespace fusebox
