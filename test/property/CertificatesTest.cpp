// Certificates against the oracle: worst-case bounds hold on every input, constructed inputs come near them,
// and expected deviations are those of random weights. FUSEBOX_LONG=1 runs more models.
#include "test/property/Region.h"

#include <cmath>
#include <cstdlib>
#include <gtest/gtest.h>
#include <numbers>

using namespace fusebox;
using namespace fusebox::test;
using oracle::Tensor;

namespace {

bool isLong() { return std::getenv("FUSEBOX_LONG") != nullptr; }

std::string golden(const std::string &name) { return FUSEBOX_TEST_DATA "/golden/" + name; }

/// Sums in f32, which the bounds leave out: relative to what is summed.
constexpr double f32Slack = 1e-4;

const std::pair<How, Contract> contracts[] = {
    {How::Reference, Contract::Reference}, {How::Wide, Contract::Wide}, {How::Fast, Contract::Fast}};

/// Largest root mean square of a head's deviation, after checking every score against the verdict.
double checkScores(Region &region, const Analysis &analysis, int64_t layer, How how, Contract contract,
                   const Region::Scores &exact, const Region::Scores &rounded) {
  const Verdict &verdict = *analysis.find(layer, node::scores, contract);
  double worst = 0;
  for (int64_t h = 0; h < exact.heads; ++h) {
    double sum = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < exact.rows; ++i)
      for (int64_t j = 0; j <= i; ++j, ++count) {
        double score = exact.at(h, i, j), deviation = rounded.at(h, i, j) - score;
        EXPECT_LE(std::fabs(score), verdict.range * (1 + f32Slack));
        if (!std::isnan(verdict.deviationWorst))
          EXPECT_LE(std::fabs(deviation), verdict.deviationWorst + f32Slack * verdict.range)
              << "layer " << layer << " head " << h << " under " << contractName(contract);
        sum += deviation * deviation;
      }
    worst = std::max(worst, std::sqrt(sum / double(count)));
  }
  return worst;
}

class OnGoldens : public testing::TestWithParam<const char *> {};

TEST_P(OnGoldens, WorstCasesHoldForScores) {
  constexpr int64_t rows = 20;
  for (ReferenceRounding rounding : {ReferenceRounding::Sdpa, ReferenceRounding::Eager}) {
    Region region(golden(GetParam()), rounding);
    Analysis analysis = analyzeModel(region.facts);
    for (int64_t layer = 0; layer < int64_t(region.facts.layers.size()); ++layer) {
      Tensor input = region.normalInput(rows);
      auto exact = region.scores(layer, input, consecutive(rows), How::Real);
      for (auto [how, contract] : contracts) {
        auto rounded = region.scores(layer, input, consecutive(rows), how);
        checkScores(region, analysis, layer, how, contract, exact, rounded);
      }
    }
  }
}

TEST_P(OnGoldens, ExpectedDeviationIsThatOfRandomWeights) {
  constexpr int64_t rows = 32;
  for (auto [how, contract] : contracts) {
    double sum = 0;
    int count = 0;
    for (unsigned seed = 1; seed <= (isLong() ? 20u : 3u); ++seed) {
      Region region(golden(GetParam()));
      region.randomise(seed);
      Analysis analysis = analyzeModel(region.facts);
      Tensor input = region.normalInput(rows);
      auto exact = region.scores(0, input, consecutive(rows), How::Real);
      auto rounded = region.scores(0, input, consecutive(rows), how);
      double measured = checkScores(region, analysis, 0, how, contract, exact, rounded);
      double ratio = measured / analysis.find(0, node::scores, contract)->deviationExpected;
      sum += ratio;
      ++count;
    }
    double mean = sum / count;
    EXPECT_GE(mean, 0.7) << contractName(contract);
    EXPECT_LE(mean, 1.3) << contractName(contract);
    std::printf("%-16s %-9s measured over expected: %.3f\n", GetParam(), contractName(contract).data(), mean);
  }
}

INSTANTIATE_TEST_SUITE_P(, OnGoldens,
                         testing::Values("qwen3", "qwen3-extreme-k", "llama", "llama-tied", "llama31-rope",
                                         "ernie4_5"),
                         [](const auto &info) {
                           std::string name = info.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

// ---- Inputs made to reach the bounds.

/// The largest score and deviation over many inputs whose q and k lie in one element each.
struct Reached {
  double score = 0, deviation = 0;
};

/// Qwen3: the projections' output is the region's input, so q and k may be anything. Each is put into its
/// larger element of the best pair; a little of another element moves its mantissa, and positions turn one
/// onto the other.
Reached reachWithNorm(Region &region, How how) {
  const auto &q = region.facts.layers[0].qNorm->gain, &k = region.facts.layers[0].kNorm->gain;
  int64_t d = region.facts.headDim, half = d / 2, qBest = 0, kBest = 0;
  auto larger = [half](const std::vector<double> &gain, int64_t j) {
    return gain[size_t(j)] >= gain[size_t(j + half)] ? j : j + half;
  };
  double most = 0;
  for (int64_t j = 0; j < half; ++j)
    if (double product = q[size_t(larger(q, j))] * k[size_t(larger(k, j))]; product > most) {
      most = product;
      qBest = larger(q, j);
      kBest = larger(k, j);
    }
  std::uniform_real_distribution<double> share(0, 0.6), place(0, 400);
  Reached reached;
  for (int trial = 0; trial < 1000; ++trial) {
    Tensor qs(2, region.facts.heads * d), ks(2, region.facts.kvHeads * d);
    for (int64_t h = 0; h < region.facts.heads; ++h) {
      qs.row(1)[size_t(h * d + qBest)] = 1;
      qs.row(1)[size_t(h * d + (qBest + 1) % d)] = share(region.random);
    }
    for (int64_t h = 0; h < region.facts.kvHeads; ++h) {
      ks.row(0)[size_t(h * d + kBest)] = 1;
      ks.row(0)[size_t(h * d + (kBest + 2) % d)] = share(region.random);
    }
    std::vector<double> positions = {std::floor(place(region.random)), std::floor(place(region.random))};
    auto exact = region.scoresFrom(0, qs, ks, positions, How::Real);
    auto rounded = region.scoresFrom(0, qs, ks, positions, how);
    for (int64_t h = 0; h < exact.heads; ++h) {
      reached.score = std::max(reached.score, std::fabs(exact.at(h, 1, 0)));
      reached.deviation = std::max(reached.deviation, std::fabs(rounded.at(h, 1, 0) - exact.at(h, 1, 0)));
    }
  }
  return reached;
}

TEST(Constructed, InputsReachTheBoundsWithNorms) {
  Region region(golden("qwen3-extreme-k"));
  Analysis analysis = analyzeModel(region.facts);
  for (auto [how, contract] : {contracts[0], contracts[1]}) {
    const Verdict &verdict = *analysis.find(0, node::scores, contract);
    Reached reached = reachWithNorm(region, how);
    EXPECT_LE(reached.deviation, verdict.deviationWorst);
    EXPECT_GE(reached.score, verdict.range / 4);
    EXPECT_GE(reached.deviation, verdict.deviationWorst / 4);
    std::printf("with norms, %-9s: score %.3f of its bound, deviation %.3f\n", contractName(contract).data(),
                reached.score / verdict.range, reached.deviation / verdict.deviationWorst);
  }
}

TEST(Constructed, WeightsReachTheBoundsWithoutNorms) {
  for (const char *name : {"llama", "ernie4_5"}) {
    Region region(golden(name));
    region.randomise(7);
    ModelFacts &facts = region.facts;
    LayerFacts &layer = facts.layers[0];
    // Each head reads two elements of the hidden vector into one pair: nothing averages out.
    layer.q.weight = region.zeros(layer.q.weight.rows, layer.q.weight.columns);
    layer.k.weight = region.zeros(layer.k.weight.rows, layer.k.weight.columns);
    TestModel writer({.layers = 0});
    for (int64_t h = 0; h < facts.heads; ++h)
      writer.set(layer.q.weight, h * facts.headDim, 0, 3.0 + 0.1 * double(h));
    for (int64_t h = 0; h < facts.kvHeads; ++h)
      writer.set(layer.k.weight, h * facts.headDim, 0, 2.0 + 0.1 * double(h));
    Analysis analysis = analyzeModel(facts);
    std::uniform_real_distribution<double> share(0, 0.6), place(0, 400);
    for (auto [how, contract] : {contracts[0], contracts[1]}) {
      const Verdict &verdict = *analysis.find(0, node::scores, contract);
      Reached reached;
      for (int trial = 0; trial < 400; ++trial) {
        Tensor input(1, facts.hidden);
        input.row(0)[0] = 1;
        input.row(0)[1] = share(region.random);
        std::vector<double> positions = {std::floor(place(region.random))};
        auto exact = region.scores(0, input, positions, How::Real);
        auto rounded = region.scores(0, input, positions, how);
        for (int64_t h = 0; h < facts.heads; ++h) {
          reached.score = std::max(reached.score, std::fabs(exact.at(h, 0, 0)));
          reached.deviation = std::max(reached.deviation, std::fabs(rounded.at(h, 0, 0) - exact.at(h, 0, 0)));
        }
      }
      EXPECT_LE(reached.deviation, verdict.deviationWorst);
      EXPECT_GE(reached.score, verdict.range / 4);
      EXPECT_GE(reached.deviation, verdict.deviationWorst / 4);
      std::printf("%s, %-9s: score %.3f of its bound, deviation %.3f\n", name, contractName(contract).data(),
                  reached.score / verdict.range, reached.deviation / verdict.deviationWorst);
    }
  }
}

/// Dense random weights: the largest score over two inputs is D · σ_max(W_qᵀ R W_k) with gains; power
/// iteration finds it for same positions.
TEST(Constructed, InputsReachTheRangeOfDenseWeights) {
  Region region(golden("llama"));
  region.randomise(3);
  const LayerFacts &layer = region.facts.layers[0];
  Analysis analysis = analyzeModel(region.facts);
  double range = analysis.find(0, node::scores, Contract::Wide)->range;
  int64_t d = region.facts.headDim, hidden = region.facts.hidden;
  auto rows = [&](const MatrixView &matrix, int64_t head, const std::vector<double> &x, bool transposed) {
    std::vector<double> y(size_t(transposed ? hidden : d), 0.0);
    for (int64_t r = 0; r < d; ++r)
      for (int64_t c = 0; c < hidden; ++c) {
        double w = TestModel::at(matrix, head * d + r, c) * layer.attnNorm->gain[size_t(c)];
        y[size_t(transposed ? c : r)] += w * x[size_t(transposed ? r : c)];
      }
    return y;
  };
  auto normalise = [](std::vector<double> &x) {
    double length = 0;
    for (double value : x)
      length += value * value;
    for (double &value : x)
      value /= std::sqrt(length);
    return std::sqrt(length);
  };
  double best = 0;
  for (int64_t h = 0; h < region.facts.heads; ++h) {
    std::vector<double> y(size_t(hidden), 1.0);
    double sigma = 0;
    for (int step = 0; step < 40; ++step) {
      normalise(y);
      auto x =
          rows(layer.q.weight, h, rows(layer.k.weight, h / region.facts.queriesPerKey(), y, false), true);
      normalise(x);
      y = rows(layer.k.weight, h / region.facts.queriesPerKey(), rows(layer.q.weight, h, x, false), true);
      double length = 0;
      for (double value : y)
        length += value * value;
      sigma = std::sqrt(length);
    }
    best = std::max(best, region.facts.scale * double(hidden) * sigma);
  }
  EXPECT_LE(best, range);
  EXPECT_GE(best, range / 4);
  std::printf("dense weights: score %.3f of its bound\n", best / range);
}

} // namespace
