// The heuristic score: every rule, every threshold's edge, weights that are no numbers.
#include "passes/analysis/Heuristic.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>

using namespace fusebox;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double notANumber = std::numeric_limits<double>::quiet_NaN();

/// A model of which only the k norms matter; q gains are 1.
ModelFacts modelOf(const std::vector<std::vector<double>> &kGains) {
  ModelFacts facts;
  facts.qkNorm = QkNorm::PerHead;
  for (const auto &gains : kGains) {
    LayerFacts layer;
    layer.qNorm = NormFacts{std::vector<double>(gains.size(), 1.0), 1e-6};
    layer.kNorm = NormFacts{gains, 1e-6};
    facts.layers.push_back(layer);
  }
  return facts;
}

/// Gains 1, …, 1 and a last one of `max`: max/median = max.
std::vector<double> outlier(double max, size_t size = 128) {
  std::vector<double> gains(size, 1.0);
  gains.back() = max;
  return gains;
}

Heuristic score(const std::vector<std::vector<double>> &kGains, const HeuristicLimits &limits = {}) {
  return scoreHeuristic(modelOf(kGains), limits);
}

TEST(Summary, MedianIsTheLowerOne) {
  std::vector<double> even = {4, 1, 3, 2};
  EXPECT_EQ(summariseGain(even).median, 2);
  EXPECT_EQ(summariseGain(even).ratio, 2);
  std::vector<double> odd = {5, 1, 3};
  EXPECT_EQ(summariseGain(odd).median, 3);
}

TEST(Summary, GoesByMagnitudeButVarianceBySign) {
  std::vector<double> gains = {-3, 1, 1, 1};
  GainSummary summary = summariseGain(gains);
  EXPECT_EQ(summary.max, 3);
  EXPECT_EQ(summary.median, 1);
  EXPECT_DOUBLE_EQ(summary.variance, 3.0); // mean 0: (9 + 3) / 4
}

TEST(Summary, MedianZeroIsAnInfiniteRatio) {
  std::vector<double> gains = {0, 0, 0, 2};
  EXPECT_EQ(summariseGain(gains).ratio, infinity);
  std::vector<double> zeros(4, 0.0);
  EXPECT_EQ(summariseGain(zeros).ratio, 1);
}

TEST(Summary, DenormalsAreNumbers) {
  std::vector<double> gains = {0x1p-133, 0x1p-133, 0x1p-133, 0x1p-130};
  GainSummary summary = summariseGain(gains);
  EXPECT_EQ(summary.ratio, 8);
  EXPECT_EQ(summary.notFinite, 0);
}

TEST(Summary, NaNAndInfinityAreInfiniteAndCounted) {
  for (double bad : {notANumber, infinity, -infinity}) {
    std::vector<double> gains = {1, bad, 1, 1};
    GainSummary summary = summariseGain(gains);
    EXPECT_EQ(summary.max, infinity);
    EXPECT_EQ(summary.ratio, infinity);
    EXPECT_EQ(summary.variance, infinity);
    EXPECT_EQ(summary.notFinite, 1);
  }
}

TEST(Ramp, IsOneToHalfTheLimitAndZeroFromIt) {
  EXPECT_EQ(ramp(0, 20), 1);
  EXPECT_EQ(ramp(10, 20), 1);
  EXPECT_EQ(ramp(15, 20), 0.5);
  EXPECT_EQ(ramp(20, 20), 0);
  EXPECT_EQ(ramp(infinity, 20), 0);
}

TEST(Heuristic, CalmModelIsCompatible) {
  Heuristic result = score({outlier(2), outlier(3)});
  EXPECT_EQ(result.status, Status::Compatible);
  EXPECT_DOUBLE_EQ(result.score, 1);
  EXPECT_EQ(result.amplification, 1);
}

TEST(Heuristic, ThresholdsAreExceededNotReached) {
  Heuristic at = score({outlier(20)}), above = score({outlier(20.5)});
  EXPECT_FALSE(at.layers[0].problematic);
  EXPECT_TRUE(above.layers[0].problematic);
  EXPECT_FALSE(score({outlier(10)}).layers[0].extreme);
  EXPECT_TRUE(score({outlier(10.0625)}).layers[0].extreme);
}

TEST(Heuristic, AmplificationIsTheProductOfProblematicMaxima) {
  Heuristic result = score({outlier(96.5), outlier(44), outlier(14), outlier(30)}, {.ratio = 40});
  EXPECT_DOUBLE_EQ(result.amplification, 96.5 * 44);
  EXPECT_DOUBLE_EQ(result.estimatedError, 96.5 * 44 / 1000);
  EXPECT_EQ(result.extremeLayers, 4);
}

TEST(Heuristic, EstimatedErrorAboveOneIsIncompatibleWhateverTheScore) {
  HeuristicLimits lenient = {.ratioShare = 1, .incompatibleBelow = 0, .warningBelow = 0};
  lenient.ratio = 20;
  Heuristic at = score({outlier(40), outlier(25)}, lenient);
  EXPECT_EQ(at.amplification, 1000);
  EXPECT_EQ(at.status, Status::Compatible) << "1.0 is not above 1.0";
  EXPECT_EQ(score({outlier(40), outlier(25.125)}, lenient).status, Status::Incompatible);
}

TEST(Heuristic, StatusEdges) {
  // One calm-max layer of ratio r: score = 0.4 ramp(r) + 0.3 + 0.2 + 0.1.
  auto withRatio = [](double ratio) {
    std::vector<double> gains(128, 9.0 / ratio);
    gains.back() = 9;
    return score({gains}, {.variance = 1000});
  };
  EXPECT_EQ(withRatio(10).status, Status::Compatible);
  Heuristic atEdge = withRatio(15); // 0.4 · 0.5 + 0.6 = 0.8
  EXPECT_NEAR(atEdge.score, 0.8, 1e-12);
  EXPECT_EQ(withRatio(15.5).status, Status::Warning);
  EXPECT_EQ(withRatio(14.5).status, Status::Compatible);
  // Ratio 20 and all layers extreme: 0 + 0.3 + 0 + …
  Heuristic extreme = score({outlier(20)}, {.variance = 1000});
  EXPECT_NEAR(extreme.score, 0.4, 1e-12);
  EXPECT_EQ(extreme.status, Status::Incompatible);
}

TEST(Heuristic, WarningModel) {
  Heuristic result = score({outlier(11, 1024), outlier(2, 1024)});
  EXPECT_EQ(result.status, Status::Compatible);
  result = score({outlier(16, 4096), outlier(2, 4096)});
  // 0.4 · ramp(16, 20) + 0.3 + 0.2 / 2 + 0.1
  EXPECT_NEAR(result.score, 0.4 * 0.4 + 0.3 + 0.1 + 0.1, 1e-12);
  EXPECT_EQ(result.status, Status::Warning);
}

TEST(Heuristic, PublishedQwen3ProfileScoresAsPublished) {
  // k_norm's largest weight and median by layer, in bf16.
  const std::pair<double, double> published[] = {{96.5, 2.28125},  {44.5, 2.34375},   {44, 2.296875},
                                                 {14, 0.66015625}, {41.75, 2.203125}, {34, 2}};
  std::vector<std::vector<double>> gains;
  for (int layer = 0; layer < 28; ++layer) {
    auto [max, median] = layer < 6 ? published[layer] : std::pair(layer < 16 ? 12.0 : 4.0, 1.5);
    gains.emplace_back(128, median);
    gains.back()[5] = max;
  }
  Heuristic result = score(gains);
  EXPECT_EQ(result.status, Status::Incompatible);
  EXPECT_NEAR(result.score, 0.086, 0.0005);
  EXPECT_NEAR(result.layers[0].k->ratio, 42.3, 0.01);
  EXPECT_EQ(result.extremeLayers, 16);
  EXPECT_EQ(result.amplification, 1351); // 96.5 · 14, layers 0 and 3
  EXPECT_DOUBLE_EQ(result.estimatedError, 1.351);
}

TEST(Heuristic, AmplificationAndVarianceEdges) {
  // Ratio limit 2, so that one layer of maximum m amplifies by m.
  auto amplified = [](double max) {
    HeuristicLimits limits = {.extreme = 1000, .ratio = 2, .variance = 1e6, .ratioShare = 0};
    return score({outlier(max)}, limits).score;
  };
  EXPECT_NEAR(amplified(5), 0.6, 1e-12) << "half the limit costs nothing";
  EXPECT_NEAR(amplified(7.5), 0.45, 1e-12);
  EXPECT_NEAR(amplified(10), 0.3, 1e-12) << "at the limit nothing is left";
  // Two gains a ± v: variance v².
  auto varying = [](double variance) {
    double v = std::sqrt(variance);
    return score({{3 + v, 3 - v}}, {.extreme = 1000, .ratio = 1000}).score;
  };
  EXPECT_NEAR(varying(5), 1, 1e-12);
  EXPECT_NEAR(varying(7.5), 0.95, 1e-12);
  EXPECT_NEAR(varying(10), 0.9, 1e-12);
}

TEST(Heuristic, WeightsThatAreNoNumbersAreIncompatible) {
  for (double bad : {notANumber, infinity}) {
    Heuristic result = score({outlier(bad), outlier(2)});
    EXPECT_EQ(result.status, Status::Incompatible);
    EXPECT_EQ(result.notFinite, 1);
    EXPECT_EQ(result.amplification, infinity);
    EXPECT_TRUE(std::isfinite(result.score));
  }
  EXPECT_EQ(score({std::vector<double>(128, 0.0)}).status, Status::Compatible);
}

TEST(Heuristic, WithoutNormsItDoesNotApply) {
  ModelFacts facts;
  facts.layers.resize(3);
  Heuristic result = scoreHeuristic(facts, {});
  EXPECT_FALSE(result.applicable());
  EXPECT_EQ(result.status, Status::NotApplicable);
}

TEST(Heuristic, TakesTheLargerSide) {
  ModelFacts facts = modelOf({outlier(2)});
  facts.layers[0].qNorm->gain = outlier(30);
  Heuristic result = scoreHeuristic(facts, {});
  EXPECT_EQ(result.ratio, 30);
  EXPECT_TRUE(result.layers[0].extreme);
}

} // namespace
