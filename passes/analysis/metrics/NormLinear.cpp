// A norm and the linear layers that read it: gains, the projections' range, and, at the model's end, the
// logits.
#include "passes/analysis/Bounds.h"
#include "passes/analysis/Metric.h"

#include <algorithm>
#include <cmath>

namespace fusebox {

namespace {

/// A linear layer's rows, as far as a bound needs them.
struct Rows {
  double bound = 0;  ///< largest |W x + b|
  double square = 0; ///< largest ‖W[i,:] ∘ gain‖²
  double root = 0;   ///< largest root mean square of W x + b
};

void addRows(Rows &rows, const std::vector<double> &squares, const std::vector<double> &bias, double radius) {
  for (size_t i = 0; i < squares.size(); ++i) {
    double b = bias.empty() ? 0 : bias[i];
    raise(rows.bound, radius * std::sqrt(squares[i]) + std::fabs(b));
    raise(rows.square, squares[i]);
    raise(rows.root, std::sqrt(squares[i] + square(b)));
  }
}

double largestGain(const NormFacts &norm) {
  double largest = 0;
  for (double gain : norm.gain)
    raise(largest, std::fabs(gain));
  return largest;
}

Deviation normLinearDeviation(const ModelFacts &facts, const Rows &rows, Contract contract) {
  double u = unitRoundoff(facts.activations);
  Deviation deviation;
  deviation.counts = normLinearCounts(facts, contract);
  deviation.worst = (deviation.counts.growth - 1) * rows.bound;
  deviation.expected = u * std::sqrt(kappa * (deviation.counts.onHidden * rows.square +
                                              deviation.counts.others * square(rows.root)));
  return deviation;
}

/// The norm's own values and the projections' results, as rounded.
std::vector<Verdict> judgeRows(const MetricInput &input, std::string_view name, int64_t layer,
                               const NormFacts &norm, const Rows &rows, bool isDistribution) {
  NodeCase node;
  node.layer = layer;
  node.node = name;
  node.range = rows.bound;
  double normed = std::sqrt(double(input.facts.hidden)) * largestGain(norm);
  double growth = normLinearCounts(input.facts, Contract::Reference).growth;
  node.largest = growth * std::max(rows.bound, normed);
  if (std::isnan(normed) || std::isnan(rows.bound))
    node.largest = normed + rows.bound;
  node.isDistribution = isDistribution;
  node.deviation = [&](Contract contract) { return normLinearDeviation(input.facts, rows, contract); };
  return judgeNode(input, node);
}

} // namespace

std::vector<Verdict> judgeAttnNorm(const MetricInput &input) {
  std::vector<Verdict> verdicts;
  for (size_t l = 0; l < input.facts.layers.size(); ++l) {
    const LayerFacts &weights = input.facts.layers[l];
    if (!weights.attnNorm)
      continue; // a model with norms after its sub-layers has nothing to fuse here
    const LayerMeasures &layer = input.measures.layers[l];
    Rows rows;
    addRows(rows, layer.q, weights.q.bias, layer.attnRadius);
    addRows(rows, layer.k, weights.k.bias, layer.attnRadius);
    addRows(rows, layer.v, weights.v.bias, layer.attnRadius);
    auto judged = judgeRows(input, node::attnNorm, int64_t(l), *weights.attnNorm, rows, false);
    verdicts.insert(verdicts.end(), judged.begin(), judged.end());
  }
  return verdicts;
}

std::vector<Verdict> judgeMlpNorm(const MetricInput &input) {
  std::vector<Verdict> verdicts;
  for (size_t l = 0; l < input.facts.layers.size(); ++l) {
    const LayerFacts &weights = input.facts.layers[l];
    if (!weights.mlpNorm)
      continue;
    const LayerMeasures &layer = input.measures.layers[l];
    Rows rows;
    addRows(rows, layer.gate, weights.gate.bias, layer.mlpRadius);
    addRows(rows, layer.up, weights.up.bias, layer.mlpRadius);
    auto judged = judgeRows(input, node::mlpNorm, int64_t(l), *weights.mlpNorm, rows, false);
    verdicts.insert(verdicts.end(), judged.begin(), judged.end());
  }
  return verdicts;
}

std::vector<Verdict> judgeLogits(const MetricInput &input) {
  Rows rows;
  double scale = std::fabs(input.facts.logitScale);
  addRows(rows, {square(scale) * input.measures.logitRow}, {}, std::sqrt(double(input.facts.hidden)));
  return judgeRows(input, node::logits, noLayer, input.facts.finalNorm, rows, true);
}

} // namespace fusebox
