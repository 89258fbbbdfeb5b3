// Attention scores: how far roundings of q and k (and, in eager code, of the scores themselves) move them.
#include "passes/analysis/Bounds.h"
#include "passes/analysis/Metric.h"

#include <algorithm>
#include <cmath>

namespace fusebox {

Deviation scoreDeviation(const ModelFacts &facts, const HeadScore &head, Contract contract) {
  double u = unitRoundoff(facts.activations);
  Deviation deviation;
  deviation.counts = scoreCounts(facts, contract);
  int extra = scoreRoundings(facts, contract);
  double growth = square(deviation.counts.growth) * std::pow(1 + u, extra);
  double others = 2 * deviation.counts.others + extra;
  deviation.worst = (growth - 1) * head.range;
  double variance = others * head.spread + deviation.counts.onHidden * head.hiddenSpread;
  deviation.expected = u * facts.scale * std::sqrt(kappa / 2 * variance);
  deviation.counts.weighted += extra / 2.0;
  return deviation;
}

/// Each bound for the head where it is largest; NaN if one is.
static Deviation largestDeviation(const ModelFacts &facts, const LayerMeasures &layer, Contract contract) {
  Deviation largest;
  for (const HeadScore &head : layer.heads) {
    Deviation deviation = scoreDeviation(facts, head, contract);
    largest.counts = deviation.counts;
    raise(largest.worst, deviation.worst);
    raise(largest.expected, deviation.expected);
  }
  return largest;
}

std::vector<Verdict> judgeScores(const MetricInput &input) {
  std::vector<Verdict> verdicts;
  for (size_t l = 0; l < input.facts.layers.size(); ++l) {
    const LayerMeasures &layer = input.measures.layers[l];
    NodeCase node;
    node.layer = int64_t(l);
    node.node = node::scores;
    for (const HeadScore &head : layer.heads)
      raise(node.range, head.range);
    double growth = scoreCounts(input.facts, Contract::Reference).growth;
    // What a type must hold: q, k, and in eager code the products before they are scaled.
    node.largest = growth * std::max(layer.largestQ, layer.largestK);
    node.largest = std::max(node.largest, square(growth) * node.range / input.facts.scale);
    if (std::isnan(node.range))
      node.largest = node.range;
    node.isDistribution = true;
    node.withReference = true;
    node.deviation = [&](Contract contract) { return largestDeviation(input.facts, layer, contract); };
    std::vector<Verdict> judged = judgeNode(input, node);
    verdicts.insert(verdicts.end(), judged.begin(), judged.end());
  }
  return verdicts;
}

} // namespace fusebox
