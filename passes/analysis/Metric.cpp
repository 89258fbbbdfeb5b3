#include "passes/analysis/Metric.h"

#include <cmath>
#include <fmt/format.h>

using namespace fusebox;

#define FUSEBOX_METRIC(NODE, JUDGE, SUMMARY)                                                                 \
  namespace fusebox {                                                                                        \
  std::vector<Verdict> JUDGE(const MetricInput &input);                                                      \
  }
#include "passes/analysis/metrics/Metrics.def"
#undef FUSEBOX_METRIC

std::span<const Metric> fusebox::metrics() {
  static const Metric all[] = {
#define FUSEBOX_METRIC(NODE, JUDGE, SUMMARY) {NODE, SUMMARY, JUDGE},
#include "passes/analysis/metrics/Metrics.def"
#undef FUSEBOX_METRIC
  };
  return all;
}

std::string_view fusebox::basisName(Basis basis) {
  switch (basis) {
  case Basis::Proved:
    return "proved";
  case Basis::Expected:
    return "expected";
  case Basis::Measured:
    return "measured";
  }
  return "";
}

namespace {

/// Trained models deviate by up to this many σ (docs/check.md): budgets are held against it.
constexpr double trustedSigmas = 4;

bool noMoreThan(const RoundingCounts &a, const RoundingCounts &b) {
  return a.weighted <= b.weighted && a.onHidden <= b.onHidden && a.others <= b.others &&
         (a.hasWorstCase || !b.hasWorstCase);
}

/// Why the node may not be fused at all, or nothing.
std::string commonRefusal(const MetricInput &input, const NodeCase &node, Verdict &verdict) {
  if (auto problem = semanticProblem(input.facts, input.kernels, node.node, node.layer)) {
    verdict.semanticsProved = false;
    return "semantics not proved: " + *problem;
  }
  if (!std::isfinite(node.largest)) {
    verdict.rangeProved = false;
    return "range not proved: a weight is NaN or infinite, or values may be";
  }
  if (double limit = largestValue(input.facts.activations); node.largest > limit) {
    verdict.rangeProved = false;
    return fmt::format("range not proved: values may reach {:.3g}, past the largest {}, {:.5g}", node.largest,
                       dtypeName(input.facts.activations), limit);
  }
  auto downstream = input.facts.discontinuities.find(std::string(node.node));
  if (downstream != input.facts.discontinuities.end())
    return "feeds " + downstream->second + ", where the smallest deviation may jump: exact only";
  return {};
}

void judgeWide(const RoundingCounts &wide, const RoundingCounts &reference, Verdict &verdict) {
  verdict.legal = noMoreThan(wide, reference);
  verdict.basis = Basis::Proved;
  verdict.reason =
      fmt::format("{:g} roundings where the reference has {:g}{}", wide.variance(), reference.variance(),
                  verdict.legal ? ": nearer to the real-number result" : "");
}

void judgeFast(const MetricInput &input, const NodeCase &node, double sigma, Verdict &verdict) {
  verdict.basis = Basis::Expected;
  if (!node.isDistribution) {
    verdict.legal = false;
    verdict.reason = node.isMeasurable ? "weights alone give no KL divergence for this node; --measure does"
                                       : "no KL divergence is known for this node";
    return;
  }
  double kl = trustedSigmas * trustedSigmas * sigma * sigma / 2;
  verdict.legal = kl <= input.klBudget;
  verdict.reason = fmt::format("KL at {:g} sigma {:.2g} nat {} the layer's budget {:.2g}", trustedSigmas, kl,
                               verdict.legal ? "within" : "above", input.klBudget);
}

Verdict judge(const MetricInput &input, const NodeCase &node, Contract contract) {
  Verdict verdict;
  verdict.layer = node.layer;
  verdict.node = node.node;
  verdict.contract = contract;
  verdict.range = node.range;
  verdict.fitsFp16 = node.largest <= largestValue(DType::F16);
  Deviation deviation = node.deviation(contract);
  verdict.deviationWorst = deviation.counts.hasWorstCase ? deviation.worst : notApplicable;
  verdict.deviationExpected = deviation.expected;
  if (node.isDistribution)
    verdict.kl = deviation.expected * deviation.expected / 2;
  std::string refusal = commonRefusal(input, node, verdict);
  switch (contract) {
  case Contract::Exact:
  case Contract::Reference:
    verdict.legal = true;
    verdict.reason = contract == Contract::Exact ? "standard kernels' rounding points and order kept"
                                                 : "the model's own rounding points";
    return verdict;
  case Contract::Wide:
    judgeWide(deviation.counts, node.deviation(Contract::Reference).counts, verdict);
    break;
  case Contract::Fast:
    judgeFast(input, node, deviation.expected, verdict);
    break;
  }
  if (!refusal.empty()) {
    verdict.legal = false;
    verdict.reason = refusal;
  }
  return verdict;
}

} // namespace

std::vector<Verdict> fusebox::judgeNode(const MetricInput &input, const NodeCase &node) {
  std::vector<Verdict> verdicts;
  for (Contract contract : fusionContracts)
    verdicts.push_back(judge(input, node, contract));
  if (node.withReference)
    verdicts.push_back(judge(input, node, Contract::Reference));
  return verdicts;
}
