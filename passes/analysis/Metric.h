// A metric judges one node: it turns facts and measures into verdicts, one a layer and contract.
// To add one, write a file in metrics/ and a line in metrics/Metrics.def (docs/add-a-metric.md).
#pragma once

#include "passes/analysis/Measures.h"
#include "passes/analysis/Semantics.h"
#include "passes/analysis/Verdict.h"

#include <functional>
#include <span>

namespace fusebox {

struct MetricInput {
  const ModelFacts &facts;
  const ModelMeasures &measures;
  const KernelSemantics &kernels;
  double klBudget; ///< nat, of one layer
};

struct Metric {
  std::string_view node;
  std::string_view summary;
  std::vector<Verdict> (*judge)(const MetricInput &input);
};

/// All of them, in the order in which a layer runs.
std::span<const Metric> metrics();

/// What a contract does to a node's values.
struct Deviation {
  double worst = 0;    ///< NaN: no bound
  double expected = 0; ///< standard deviation
  RoundingCounts counts;
};

/// Of one head's scores. worst: (P_q P_k − 1) · R; expected: σ² = ½ κ u² τ² Σ [(c_q + c_k) α² β² + c_h (F_q²
/// β² + α² F_k²)].
Deviation scoreDeviation(const ModelFacts &facts, const HeadScore &head, Contract contract);

/// One node of one layer, judged under every contract by the rules that all nodes share.
struct NodeCase {
  int64_t layer = noLayer;
  std::string_view node;
  double range = 0;            ///< what the verdict reports
  double largest = 0;          ///< largest value that any step inside stores in the activations' type
  bool isDistribution = false; ///< the values are logits of a softmax: a KL divergence follows from σ
  bool isMeasurable = true;    ///< a run on text can give contract fast a KL divergence (check/measure)
  bool withReference = false;  ///< also report the reference's own deviation
  std::function<Deviation(Contract)> deviation;
};

/// exact: always legal. wide: legal if semantics and range are proved, no discontinuity follows, and no count
/// is above the reference's. fast: if besides 4σ keeps the KL divergence within the budget.
std::vector<Verdict> judgeNode(const MetricInput &input, const NodeCase &node);

} // namespace fusebox
