// activation(gate) · up, from the normed vector as stored: roundings of both projections, the activation, the
// product.
#include "passes/analysis/Activations.h"
#include "passes/analysis/Bounds.h"
#include "passes/analysis/Metric.h"

#include <algorithm>
#include <cmath>

namespace fusebox {

namespace {

/// The channel with the largest product.
struct Channel {
  double bound = 0;                ///< |gate| · |up|; the activation is no larger than its argument
  double gateRoot = 0, upRoot = 0; ///< root mean squares
  double largest = 0;              ///< of gate, up and the product
};

Channel largestChannel(const LayerFacts &weights, const LayerMeasures &layer) {
  Channel channel;
  double product = 0;
  for (size_t i = 0; i < layer.gate.size(); ++i) {
    double gateBias = weights.gate.bias.empty() ? 0 : weights.gate.bias[i];
    double upBias = weights.up.bias.empty() ? 0 : weights.up.bias[i];
    double gate = layer.mlpRadius * std::sqrt(layer.gate[i]) + std::fabs(gateBias);
    double up = layer.mlpRadius * std::sqrt(layer.up[i]) + std::fabs(upBias);
    raise(channel.bound, gate * up);
    channel.largest = std::max({channel.largest, gate, up});
    double gateRoot = std::hypot(layer.mlpRms * std::sqrt(layer.gate[i]), gateBias);
    double upRoot = std::hypot(layer.mlpRms * std::sqrt(layer.up[i]), upBias);
    if (gateRoot * upRoot > product) {
      product = gateRoot * upRoot;
      channel.gateRoot = gateRoot;
      channel.upRoot = upRoot;
    }
  }
  channel.largest = std::isnan(channel.bound) ? channel.bound : std::max(channel.largest, channel.bound);
  return channel;
}

/// Reference: gate, up, activation and product each round. A relative error e of the gate moves the
/// activation by at most L·e·|gate|, L its steepest slope.
Deviation gluDeviation(const ModelFacts &facts, const Channel &channel, const ActivationMoments &moments,
                       Contract contract) {
  double u = unitRoundoff(facts.activations), slope = steepestSlope(facts.activation);
  Deviation deviation;
  deviation.counts.add(u); // the product
  double variance = moments.value;
  if (contract != Contract::Wide) {
    deviation.counts.add(u, slope); // gate
    deviation.counts.add(u);        // activation
    deviation.counts.add(u);        // up
    variance += moments.weightedSlope + 2 * moments.value;
  }
  if (contract == Contract::Fast) {
    // Weights rounded anew: once more on either side.
    deviation.counts.add(u, slope);
    deviation.counts.add(u);
    variance += square(channel.gateRoot) * moments.slope + moments.value;
  }
  deviation.worst = (deviation.counts.growth - 1) * channel.bound;
  deviation.expected = u * channel.upRoot * std::sqrt(kappa * variance);
  return deviation;
}

} // namespace

std::vector<Verdict> judgeGlu(const MetricInput &input) {
  std::vector<Verdict> verdicts;
  if (!input.facts.gated)
    return verdicts; // nothing to fuse: the activation follows one projection
  for (size_t l = 0; l < input.facts.layers.size(); ++l) {
    Channel channel = largestChannel(input.facts.layers[l], input.measures.layers[l]);
    bool finite = std::isfinite(channel.gateRoot) && channel.gateRoot > 0;
    ActivationMoments moments =
        finite ? activationMoments(input.facts.activation, channel.gateRoot) : ActivationMoments{0, 0, 0};
    NodeCase node;
    node.layer = int64_t(l);
    node.node = node::glu;
    node.range = channel.bound;
    node.largest = channel.largest * std::pow(1 + unitRoundoff(input.facts.activations), 5);
    node.deviation = [&](Contract contract) { return gluDeviation(input.facts, channel, moments, contract); };
    std::vector<Verdict> judged = judgeNode(input, node);
    verdicts.insert(verdicts.end(), judged.begin(), judged.end());
  }
  return verdicts;
}

} // namespace fusebox
