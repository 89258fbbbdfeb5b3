// A projection's result added to the residual: rounding of both, and how large the residual can grow. With
// norms before sub-layers each adds a bounded amount, whatever the residual holds.
#include "passes/analysis/Bounds.h"
#include "passes/analysis/Metric.h"

#include <algorithm>
#include <cmath>

namespace fusebox {

namespace {

/// What a sub-layer adds, x what it is added to: bounds and expected squares of an element.
struct Sum {
  double added, addedSquare, before, beforeSquare, after;
  bool normed;      ///< a norm lies between projection and sum
  double projected; ///< bound on the projection's result
};

Deviation residualDeviation(const ModelFacts &facts, const Sum &sum, Contract contract) {
  double u = unitRoundoff(facts.activations);
  // Roundings of what is added, before the sum rounds.
  RoundingCounts added;
  if (contract != Contract::Wide) {
    // A relative error of the projection also changes the norm's factor: it counts twice in the worst case.
    added.add(u, sum.normed ? 2 : 1);
    if (sum.normed && facts.normRounding == NormRounding::NormalisedThenScaled)
      added.add(u);
    if (sum.normed)
      added.add(u);
  }
  if (contract == Contract::Fast)
    added.add(u); // partial sums in the activations' type
  Deviation deviation;
  deviation.worst = (added.growth * (1 + u) - 1) * sum.added + u * sum.before;
  deviation.expected = u * std::sqrt(kappa * ((added.variance() + 1) * sum.addedSquare + sum.beforeSquare));
  deviation.counts = added;
  deviation.counts.add(u);
  return deviation;
}

double largestNormed(const NormFacts &norm, int64_t hidden) {
  double gain = 0;
  for (double value : norm.gain)
    gain = std::max(gain, std::fabs(value));
  return gain * std::sqrt(double(hidden));
}

std::vector<Verdict> judgeSum(const MetricInput &input, std::string_view name, size_t layer, const Sum &sum) {
  NodeCase node;
  node.layer = int64_t(layer);
  node.node = name;
  node.isMeasurable = false;
  node.range = sum.after;
  // Roundings of all sums before can add up; each is at most a factor 1 + u, on at most 2 · layers + 1 of
  // them.
  double u = unitRoundoff(input.facts.activations);
  double growth = std::pow(1 + u, 2.0 * double(layer) + 6);
  node.largest = std::isnan(sum.after + sum.projected) ? sum.after + sum.projected
                                                       : growth * std::max(sum.after, sum.projected);
  node.deviation = [&](Contract contract) { return residualDeviation(input.facts, sum, contract); };
  return judgeNode(input, node);
}

/// One of a layer's two sums: the projection's rows, the norm after it, and the residual before and after.
struct SumOfLayer {
  std::string_view node;
  std::vector<double> LayerMeasures::*projection;
  std::optional<NormFacts> LayerFacts::*post;
  double LayerMeasures::*before, LayerMeasures::*after;
  double LayerMeasures::*meanBefore, LayerMeasures::*meanAfter;
};

std::vector<Verdict> judgeSums(const MetricInput &input, const SumOfLayer &which) {
  std::vector<Verdict> verdicts;
  for (size_t l = 0; l < input.facts.layers.size(); ++l) {
    const LayerMeasures &layer = input.measures.layers[l];
    const std::optional<NormFacts> &post = input.facts.layers[l].*which.post;
    double projected = largestOf(layer.*which.projection);
    Sum sum;
    sum.added = post ? largestNormed(*post, input.facts.hidden) : projected;
    sum.addedSquare = layer.*which.meanAfter - layer.*which.meanBefore;
    sum.before = layer.*which.before;
    sum.beforeSquare = layer.*which.meanBefore;
    sum.after = layer.*which.after;
    sum.normed = post.has_value();
    sum.projected = projected;
    auto judged = judgeSum(input, which.node, l, sum);
    verdicts.insert(verdicts.end(), judged.begin(), judged.end());
  }
  return verdicts;
}

} // namespace

std::vector<Verdict> judgeAttnResidual(const MetricInput &input) {
  return judgeSums(input, {node::attnResidual, &LayerMeasures::o, &LayerFacts::postAttnNorm,
                           &LayerMeasures::residualBefore, &LayerMeasures::residualMiddle,
                           &LayerMeasures::meanBefore, &LayerMeasures::meanMiddle});
}

std::vector<Verdict> judgeMlpResidual(const MetricInput &input) {
  return judgeSums(input, {node::mlpResidual, &LayerMeasures::down, &LayerFacts::postMlpNorm,
                           &LayerMeasures::residualMiddle, &LayerMeasures::residualAfter,
                           &LayerMeasures::meanMiddle, &LayerMeasures::meanAfter});
}

} // namespace fusebox
