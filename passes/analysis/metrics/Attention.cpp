// Softmax and its product with V, for given scores: a convex combination of values, rounded.
#include "passes/analysis/Bounds.h"
#include "passes/analysis/Metric.h"

#include <algorithm>
#include <cmath>

namespace fusebox {

static constexpr double eightBitRoundoff = 0x1p-4; ///< e4m3

/// Probabilities are rounded before they meet V, the result once: each at most u times the largest value,
/// because probabilities are positive and sum to 1. The expectation is that of the row that deviates most:
/// one that attends to a single key has a probability of 1, which no rounding changes; one that attends to n
/// keys evenly averages both roundings over them, most for n = 2.
static Deviation attentionDeviation(const ModelFacts &facts, double bound, double root, Contract contract) {
  double u = unitRoundoff(facts.activations);
  Deviation deviation;
  double variance = u * u;
  deviation.counts.add(u);
  if (contract != Contract::Wide) {
    double probability = contract == Contract::Fast ? eightBitRoundoff : u;
    deviation.counts.add(probability);
    variance = std::max(variance, (u * u + probability * probability) / 2);
  }
  deviation.worst = (deviation.counts.growth - 1) * bound;
  deviation.expected = std::sqrt(kappa * variance) * root;
  return deviation;
}

std::vector<Verdict> judgeAttention(const MetricInput &input) {
  std::vector<Verdict> verdicts;
  for (size_t l = 0; l < input.facts.layers.size(); ++l) {
    const LayerMeasures &layer = input.measures.layers[l];
    const std::vector<double> &bias = input.facts.layers[l].v.bias;
    double bound = 0, root = 0;
    for (size_t i = 0; i < layer.v.size(); ++i) {
      double b = bias.empty() ? 0 : bias[i], row = std::sqrt(layer.v[i]);
      raise(bound, layer.attnRadius * row + std::fabs(b));
      root = std::max(root, std::hypot(layer.attnRms * row, b));
    }
    NodeCase node;
    node.layer = int64_t(l);
    node.node = node::attention;
    node.isMeasurable = false;
    node.range = bound;
    node.largest = bound * std::pow(1 + unitRoundoff(input.facts.activations), 2);
    node.deviation = [&](Contract contract) {
      return attentionDeviation(input.facts, bound, root, contract);
    };
    std::vector<Verdict> judged = judgeNode(input, node);
    verdicts.insert(verdicts.end(), judged.begin(), judged.end());
  }
  return verdicts;
}

} // namespace fusebox
