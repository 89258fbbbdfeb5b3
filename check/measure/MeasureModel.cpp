#include "check/measure/MeasureModel.h"

#include "check/measure/LayerRunner.h"
#include "passes/analysis/FactsFromModel.h"
#include "passes/analysis/Metric.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

using namespace fusebox;
using oracle::Tensor;

namespace {

/// Scores of one query head: rows of growing length, one after the other.
std::vector<double> scoresOf(const ModelFacts &facts, const Tensor &q, const Tensor &k, int64_t head,
                             bool roundScores) {
  int64_t d = facts.headDim, keyHead = head / facts.queriesPerKey();
  std::vector<double> scores;
  scores.reserve(size_t(q.rows * (q.rows + 1) / 2));
  for (int64_t i = 0; i < q.rows; ++i)
    for (int64_t j = 0; j <= i; ++j) {
      double sum = 0;
      for (int64_t c = 0; c < d; ++c)
        sum += q.row(i)[size_t(head * d + c)] * k.row(j)[size_t(keyHead * d + c)];
      scores.push_back(roundScores ? roundTo(facts, roundTo(facts, sum) * facts.scale) : sum * facts.scale);
    }
  return scores;
}

/// Mean over rows of KL(softmax(exact) ‖ softmax(rounded)).
double meanKl(const std::vector<double> &exact, const std::vector<double> &rounded, int64_t rows) {
  double sum = 0;
  for (int64_t i = 0; i < rows; ++i) {
    size_t first = size_t(i * (i + 1) / 2), count = size_t(i + 1);
    sum += klDivergence(std::span(exact).subspan(first, count), std::span(rounded).subspan(first, count));
  }
  return sum / double(rows);
}

double meanSquare(const std::vector<double> &a, const std::vector<double> &b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i)
    sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum / double(a.size());
}

/// All heads of a layer, from q and k in real numbers and as the model's own code and contract fast round
/// them.
MeasuredLayer measureLayer(const ModelFacts &facts, const LayerMeasures &measures, const Sides &exact,
                           const Sides &own, const Sides &fast) {
  MeasuredLayer result;
  bool eager = facts.attentionRounding == AttentionRounding::Eager;
  Sides wide = {rounded(facts, exact.q), rounded(facts, exact.k)};
  double ownSum = 0, wideSum = 0, expectedSum = 0;
  for (int64_t h = 0; h < facts.heads; ++h) {
    std::vector<double> real = scoresOf(facts, exact.q, exact.k, h, false);
    auto compare = [&](const Sides &sides, bool roundScores, double &deviation, double &kl) {
      std::vector<double> scores = scoresOf(facts, sides.q, sides.k, h, roundScores);
      double square = meanSquare(scores, real);
      deviation = std::max(deviation, std::sqrt(square));
      kl = std::max(kl, meanKl(real, scores, exact.q.rows));
      return square;
    };
    double ownSquare = compare(own, eager, result.reference, result.referenceKl);
    wideSum += compare(wide, false, result.wide, result.wideKl);
    compare(fast, eager, result.fast, result.fastKl);
    double expected =
        std::pow(scoreDeviation(facts, measures.heads[size_t(h)], Contract::Reference).expected, 2);
    ownSum += ownSquare;
    expectedSum += expected;
    result.headOverExpected = std::max(result.headOverExpected, std::sqrt(ownSquare / expected));
  }
  result.overExpected = std::sqrt(ownSum / expectedSum);
  result.wideOverReference = std::sqrt(wideSum / ownSum);
  return result;
}

double meanKlOfRows(const Tensor &exact, const Tensor &other) {
  double sum = 0;
  for (int64_t r = 0; r < exact.rows; ++r)
    sum += klDivergence(exact.row(r), other.row(r)) / double(exact.rows);
  return sum;
}

} // namespace

double fusebox::klDivergence(std::span<const double> exact, std::span<const double> other) {
  auto logSum = [](std::span<const double> values) {
    double largest = *std::ranges::max_element(values), sum = 0;
    for (double value : values)
      sum += std::exp(value - largest);
    return largest + std::log(sum);
  };
  double a = logSum(exact), b = logSum(other), kl = 0;
  for (size_t i = 0; i < exact.size(); ++i)
    kl += std::exp(exact[i] - a) * ((exact[i] - a) - (other[i] - b));
  return std::max(kl, 0.0);
}

Result<Measurement> fusebox::measureModel(const std::string &path, std::span<const int32_t> ids,
                                          AttentionRounding rounding, std::optional<DType> activations) {
  if (ids.size() < 2)
    return usageError("--measure: the text has fewer than 2 tokens");
  FUSEBOX_ASSIGN(LoadedModel model, loadModel(path));
  FUSEBOX_ASSIGN(ModelFacts facts, factsFromModel(model, path, {rounding, activations}));
  if (facts.activations != DType::BF16 && facts.activations != DType::F32)
    return usageError("--measure: the oracle rounds to bf16 or f32, not to " +
                      std::string(dtypeName(facts.activations)));
  ModelMeasures measures = measureWeights(facts, analysisThreads(0));
  FUSEBOX_ASSIGN(LayerRunner runner, LayerRunner::make(model, facts));
  FUSEBOX_ASSIGN(ModelRun exact, runner.run(ids));

  Measurement result;
  result.tokens = int64_t(ids.size());
  for (int64_t l = 0; l < int64_t(facts.layers.size()); ++l)
    result.layers.push_back(measureLayer(facts, measures.layers[size_t(l)], exact.sides[size_t(l)],
                                         runner.sidesOf(l, exact, /*folded=*/false),
                                         runner.sidesOf(l, exact, /*folded=*/true)));
  for (const FastNode &node : fastNodes()) {
    FUSEBOX_ASSIGN(ModelRun run, runner.run(ids, &node));
    result.nextTokenKl[std::string(node.node)] = meanKlOfRows(exact.logits, run.logits);
  }
  result.nextTokenKl[std::string(node::logits)] = meanKlOfRows(exact.logits, runner.fastLogits(exact));
  return result;
}

void fusebox::applyMeasurement(const Measurement &measurement, CheckReport &report) {
  double layers = double(std::max<size_t>(measurement.layers.size(), 1)),
         budget = report.limits.klBudget / layers;
  for (Verdict &verdict : report.analysis.verdicts) {
    if (verdict.basis != Basis::Expected || !verdict.semanticsProved || !verdict.rangeProved)
      continue;
    if (verdict.node == node::scores) {
      const MeasuredLayer &layer = measurement.layers[size_t(verdict.layer)];
      verdict.deviationExpected = layer.fast;
      verdict.kl = layer.fastKl;
    } else if (auto kl = measurement.nextTokenKl.find(verdict.node); kl != measurement.nextTokenKl.end()) {
      verdict.kl = verdict.layer == noLayer ? kl->second : kl->second / layers;
    } else {
      continue;
    }
    verdict.basis = Basis::Measured;
    verdict.legal = verdict.kl <= budget;
    verdict.reason = fmt::format("measured on {} tokens: KL {:.2g} nat {} the layer's budget {:.2g}",
                                 measurement.tokens, verdict.kl, verdict.legal ? "within" : "above", budget);
  }
  auto summary = [&](double MeasuredLayer::*field) {
    std::vector<double> values;
    for (const MeasuredLayer &layer : measurement.layers)
      values.push_back(layer.*field);
    std::ranges::sort(values);
    return MeasuredRange{values.front(), values[values.size() / 2], values.back()};
  };
  report.measured =
      MeasuredSummary{measurement.tokens, summary(&MeasuredLayer::overExpected),
                      summary(&MeasuredLayer::headOverExpected), summary(&MeasuredLayer::wideOverReference)};
}
