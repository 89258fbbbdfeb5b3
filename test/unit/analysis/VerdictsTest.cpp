// Verdicts: the published counts and formulas, legality, gates, ranges, invariance.
#include "check/Rebalance.h"
#include "test/unit/analysis/TestModel.h"

#include <gtest/gtest.h>

using namespace fusebox;
using fusebox::test::TestModel;

namespace {

constexpr double u = 0x1p-8;

RoundingCounts reference(const ModelFacts &facts) { return scoreCounts(facts, Contract::Reference); }

TEST(Counts, AreThePublishedOnes) {
  ModelFacts facts = TestModel({}).facts; // Qwen3
  EXPECT_NEAR(reference(facts).weighted, 5.12, 0.005);
  EXPECT_EQ(reference(facts).onHidden, 0);
  EXPECT_EQ(reference(facts).others, 5);
  facts.normRounding = NormRounding::ScaledOnly; // Gemma 3
  EXPECT_NEAR(reference(facts).weighted, 4.12, 0.005);
  facts.ropeRounding = RopeRounding::SumOnly; // OLMo 2
  EXPECT_EQ(reference(facts).weighted, 2);

  ModelFacts llama = TestModel({.qkNorm = QkNorm::None}).facts;
  EXPECT_NEAR(reference(llama).weighted, 6.12, 0.005);
  EXPECT_EQ(reference(llama).onHidden, 2);
  EXPECT_EQ(reference(llama).others, 4);
  llama.ropeRounding = RopeRounding::SumOnly; // ERNIE-4.5
  EXPECT_EQ(reference(llama).weighted, 4);
  EXPECT_EQ(scoreCounts(llama, Contract::Wide).weighted, 1);
  EXPECT_EQ(scoreCounts(llama, Contract::Wide).variance(), 1);
}

TEST(Counts, EagerRoundsScoresOnceOrTwice) {
  ModelFacts facts = TestModel({}).facts;
  facts.attentionRounding = AttentionRounding::Eager;
  facts.scale = 0.25;
  EXPECT_EQ(scoreRoundings(facts, Contract::Reference), 1);
  facts.scale = 0.3;
  EXPECT_EQ(scoreRoundings(facts, Contract::Reference), 2);
  EXPECT_EQ(scoreRoundings(facts, Contract::Wide), 0);
  facts.attentionRounding = AttentionRounding::Sdpa;
  EXPECT_EQ(scoreRoundings(facts, Contract::Reference), 0);
}

TEST(Scores, RangeWithNormsIsScaleTimesSizeTimesLargestPair) {
  TestModel model({.layers = 1});
  ModelFacts &facts = model.facts;
  double largest = 0;
  const auto &q = facts.layers[0].qNorm->gain, &k = facts.layers[0].kNorm->gain;
  for (size_t j = 0; j < 8; ++j)
    largest = std::max(largest, std::max(q[j], q[j + 8]) * std::max(k[j], k[j + 8]));
  Analysis analysis = analyzeModel(facts);
  const Verdict *own = analysis.find(0, node::scores, Contract::Reference);
  EXPECT_NEAR(own->range, facts.scale * 16 * largest, 1e-9);
  double growth = (1 + u) * (1 + u) * (1 + u / std::sqrt(2)) * (1 + std::sqrt(2) * u) * (1 + u);
  EXPECT_NEAR(own->deviationWorst, (growth * growth - 1) * own->range, 1e-6 * own->deviationWorst);
  const Verdict *wide = analysis.find(0, node::scores, Contract::Wide);
  EXPECT_NEAR(wide->deviationWorst, ((1 + u) * (1 + u) - 1) * wide->range, 1e-6 * wide->deviationWorst);
  EXPECT_NEAR(wide->deviationExpected / own->deviationExpected, std::sqrt(1.0 / 5), 1e-9);
  EXPECT_NEAR(own->kl, own->deviationExpected * own->deviationExpected / 2, 1e-12);
}

TEST(Scores, ScaledNormBeatsTheSumOverPairs) {
  TestModel model({.hidden = 256, .headDim = 32, .layers = 1, .qkNorm = QkNorm::None});
  Analysis analysis = analyzeModel(model.facts);
  double bound = analysis.find(0, node::scores, Contract::Wide)->range;
  // Σ N N, at best √D·(largest row)² a pair: the joint bound must be well below it.
  double rows = 0;
  for (int64_t j = 0; j < 16; ++j)
    rows += 256.0;
  EXPECT_GT(bound, 0);
  EXPECT_LT(bound, model.facts.scale * rows * 4);
}

TEST(Verdicts, WideIsLegalEverywhereOnOrdinaryModels) {
  for (QkNorm norm : {QkNorm::PerHead, QkNorm::None}) {
    for (bool biases : {false, true}) {
      TestModel model({.qkNorm = norm, .biases = biases});
      Analysis analysis = analyzeModel(model.facts);
      EXPECT_EQ(analysis.certified, Status::Compatible);
      for (const Verdict &verdict : analysis.verdicts) {
        EXPECT_FALSE(verdict.reason.empty());
        if (verdict.contract == Contract::Wide || verdict.contract == Contract::Exact)
          EXPECT_TRUE(verdict.legal) << verdict.node << ": " << verdict.reason;
        if (verdict.contract == Contract::Wide)
          EXPECT_EQ(verdict.basis, Basis::Proved);
      }
    }
  }
}

TEST(Verdicts, ThreadsDoNotChangeThem) {
  TestModel model({.qkNorm = QkNorm::None});
  Analysis one = analyzeModel(model.facts, {.threads = 1}), four = analyzeModel(model.facts, {.threads = 4});
  ASSERT_EQ(one.verdicts.size(), four.verdicts.size());
  for (size_t i = 0; i < one.verdicts.size(); ++i) {
    EXPECT_EQ(one.verdicts[i].range, four.verdicts[i].range);
    EXPECT_EQ(one.verdicts[i].deviationExpected, four.verdicts[i].deviationExpected);
  }
}

TEST(Verdicts, FastNeedsABudget) {
  TestModel model({.layers = 1});
  Analysis tight = analyzeModel(model.facts, {.klBudget = 1e-9}),
           loose = analyzeModel(model.facts, {.klBudget = 100});
  EXPECT_FALSE(tight.find(0, node::scores, Contract::Fast)->legal);
  EXPECT_TRUE(loose.find(0, node::scores, Contract::Fast)->legal);
  EXPECT_EQ(loose.find(0, node::scores, Contract::Fast)->basis, Basis::Expected);
  EXPECT_TRUE(std::isnan(loose.find(0, node::scores, Contract::Fast)->deviationWorst))
      << "roundings before a norm have no worst case";
}

TEST(Verdicts, NotFiniteWeightsLeaveTheRangeUnproved) {
  for (double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    TestModel model({});
    model.set(model.facts.layers[1].gate.weight, 5, 5, bad);
    Analysis analysis = analyzeModel(model.facts);
    EXPECT_EQ(analysis.certified, Status::Incompatible);
    EXPECT_FALSE(analysis.find(1, node::glu, Contract::Wide)->legal);
    EXPECT_FALSE(analysis.find(1, node::glu, Contract::Wide)->rangeProved);
    EXPECT_TRUE(analysis.find(0, node::glu, Contract::Wide)->legal);
    EXPECT_TRUE(analysis.find(1, node::glu, Contract::Exact)->legal);
  }
}

TEST(Verdicts, EveryWeightIsRead) {
  auto poison = [](auto pick) {
    TestModel model({.layers = 1});
    MatrixView matrix = pick(model.facts);
    model.set(matrix, matrix.rows - 1, matrix.columns - 1, std::numeric_limits<double>::quiet_NaN());
    return analyzeModel(model.facts).certified;
  };
  EXPECT_EQ(poison([](ModelFacts &f) { return f.layers[0].q.weight; }), Status::Incompatible);
  EXPECT_EQ(poison([](ModelFacts &f) { return f.layers[0].k.weight; }), Status::Incompatible);
  EXPECT_EQ(poison([](ModelFacts &f) { return f.layers[0].v.weight; }), Status::Incompatible);
  EXPECT_EQ(poison([](ModelFacts &f) { return f.layers[0].o.weight; }), Status::Incompatible);
  EXPECT_EQ(poison([](ModelFacts &f) { return f.layers[0].up.weight; }), Status::Incompatible);
  EXPECT_EQ(poison([](ModelFacts &f) { return f.layers[0].down.weight; }), Status::Incompatible);
  EXPECT_EQ(poison([](ModelFacts &f) { return f.embed; }), Status::Incompatible);
}

TEST(Verdicts, NarrowTypesRefuseLargeValues) {
  TestModel model({.layers = 1});
  model.facts.activations = DType::F16;
  EXPECT_EQ(analyzeModel(model.facts).certified, Status::Compatible);
  model.facts.layers[0].kNorm->gain[3] = 60000;
  Analysis analysis = analyzeModel(model.facts);
  EXPECT_FALSE(analysis.find(0, node::scores, Contract::Wide)->rangeProved);
  EXPECT_EQ(analysis.certified, Status::Incompatible);
  model.facts.activations = DType::BF16;
  analysis = analyzeModel(model.facts);
  EXPECT_TRUE(analysis.find(0, node::scores, Contract::Wide)->legal);
  EXPECT_FALSE(analysis.find(0, node::scores, Contract::Wide)->fitsFp16);
}

TEST(Gate, RefusesWhatKernelsDoNotMean) {
  auto problem = [](auto change) {
    TestModel model({.layers = 1});
    change(model.facts);
    Analysis analysis = analyzeModel(model.facts);
    EXPECT_EQ(analysis.certified, Status::Incompatible);
    return analysis.find(0, node::scores, Contract::Wide)->reason;
  };
  EXPECT_NE(problem([](ModelFacts &f) { f.softcap = 50; }).find("capped softly at 50"), std::string::npos);
  EXPECT_NE(problem([](ModelFacts &f) { f.rotaryDim = 8; }).find("8 of 16"), std::string::npos);
  EXPECT_NE(problem([](ModelFacts &f) { f.ropeFactor = 1.2; }).find("1.2"), std::string::npos);
  EXPECT_NE(problem([](ModelFacts &f) { f.layers[0].kNorm.reset(); }).find("k_norm is absent"),
            std::string::npos);
  EXPECT_NE(problem([](ModelFacts &f) { f.layers[0].qNorm->eps = 0; }).find("eps 0"), std::string::npos);
  EXPECT_NE(problem([](ModelFacts &f) { f.layers[0].qNorm->gain.pop_back(); }).find("15 gains"),
            std::string::npos);
}

TEST(Gate, DiscontinuitiesTakeOnlyExact) {
  TestModel model({.layers = 1});
  model.facts.discontinuities["glu"] = "an FP8 quantiser";
  Analysis analysis = analyzeModel(model.facts);
  EXPECT_FALSE(analysis.find(0, node::glu, Contract::Wide)->legal);
  EXPECT_TRUE(analysis.find(0, node::glu, Contract::Exact)->legal);
  EXPECT_EQ(analysis.certified, Status::Warning);
}

TEST(Gate, NormOverAllHeadsIsNamed) {
  TestModel model({.qkNorm = QkNorm::AllHeads, .placement = NormPlacement::Post});
  Analysis analysis = analyzeModel(model.facts);
  EXPECT_EQ(analysis.certified, Status::Incompatible);
  EXPECT_NE(analysis.find(0, node::scores, Contract::Wide)->reason.find("all heads at once"),
            std::string::npos);
  EXPECT_GT(analysis.find(0, node::scores, Contract::Reference)->range, 0);
  EXPECT_EQ(analysis.find(0, node::attnNorm, Contract::Wide), nullptr) << "no norm before attention";
}

/// Moves powers of two between q and k as `balance` says.
void applyBalance(TestModel &model, const Balance &balance) {
  ModelFacts &facts = model.facts;
  int64_t d = facts.headDim;
  for (size_t l = 0; l < facts.layers.size(); ++l) {
    LayerFacts &layer = facts.layers[l];
    const auto &exponents = balance.layers[l].exponents;
    if (layer.qNorm) {
      for (int64_t j = 0; j < d; ++j) {
        layer.qNorm->gain[size_t(j)] = std::ldexp(layer.qNorm->gain[size_t(j)], exponents[0][size_t(j)]);
        layer.kNorm->gain[size_t(j)] = std::ldexp(layer.kNorm->gain[size_t(j)], -exponents[0][size_t(j)]);
      }
      continue;
    }
    auto scaleRows = [&](LinearFacts &linear, int64_t headsPerGroup, int sign) {
      for (int64_t row = 0; row < linear.weight.rows; ++row) {
        int by = sign * exponents[size_t(row / d / headsPerGroup)][size_t(row % d)];
        for (int64_t i = 0; i < linear.weight.columns; ++i)
          model.set(linear.weight, row, i, std::ldexp(TestModel::at(linear.weight, row, i), by));
        if (!linear.bias.empty())
          linear.bias[size_t(row)] = std::ldexp(linear.bias[size_t(row)], by);
      }
    };
    scaleRows(layer.q, facts.queriesPerKey(), 1);
    scaleRows(layer.k, 1, -1);
  }
}

void expectSameScores(const Analysis &a, const Analysis &b) {
  for (const Verdict &verdict : a.verdicts) {
    if (verdict.node != node::scores)
      continue;
    const Verdict *other = b.find(verdict.layer, verdict.node, verdict.contract);
    EXPECT_EQ(verdict.range, other->range);
    EXPECT_EQ(verdict.deviationExpected, other->deviationExpected);
    EXPECT_EQ(verdict.legal, other->legal);
    EXPECT_EQ(verdict.reason, other->reason);
    EXPECT_TRUE(verdict.deviationWorst == other->deviationWorst || std::isnan(verdict.deviationWorst));
  }
}

TEST(Rebalancing, LeavesCertificatesWithNormsToTheLastBit) {
  TestModel model({});
  model.facts.layers[0].kNorm->gain = test::gainsWith(16, 96.5);
  model.facts.layers[1].kNorm->gain[5] = 44;
  Analysis before = analyzeModel(model.facts);
  Balance balance = levelGains(model.facts);
  EXPECT_GT(balance.moved(), 0);
  EXPECT_EQ(balance.held(), 0);
  Heuristic predicted = heuristicAfter(model.facts, balance, {});
  applyBalance(model, balance);
  Analysis after = analyzeModel(model.facts);
  expectSameScores(before, after);
  EXPECT_GT(after.heuristic.score, before.heuristic.score);
  EXPECT_EQ(predicted.score, after.heuristic.score);
}

TEST(Rebalancing, LeavesCertificatesWithoutNormsToTheLastBit) {
  for (bool biases : {false, true}) {
    TestModel model({.qkNorm = QkNorm::None, .biases = biases});
    for (int64_t i = 0; i < 64; ++i)
      model.set(model.facts.layers[0].k.weight, 3, i,
                64 * TestModel::at(model.facts.layers[0].k.weight, 3, i));
    Analysis before = analyzeModel(model.facts);
    Balance balance = levelRows(model.facts, measureWeights(model.facts, 1));
    EXPECT_GT(balance.moved(), 0);
    applyBalance(model, balance);
    expectSameScores(before, analyzeModel(model.facts));
  }
}

TEST(Rebalancing, KeepsPairsWhoseStoredGainsCannotMove) {
  TestModel model({.layers = 1});
  model.facts.gainConvention = GainConvention::OnePlus;
  NormFacts &q = *model.facts.layers[0].qNorm, &k = *model.facts.layers[0].kNorm;
  // Elements j and j + 8 are a pair. Pair 0: gains 16 and 1, exactly movable. Pair 1: k's second gain needs
  // more digits less 1 than bf16 has.
  q.gain.assign(16, 1);
  k.gain.assign(16, 1);
  k.gain[0] = k.gain[8] = 16;
  k.gain[1] = 16;
  k.gain[9] = 1.0078125;
  Balance balance = levelGains(model.facts);
  EXPECT_EQ(balance.moved(), 1);
  EXPECT_EQ(balance.held(), 1);
  const std::vector<int> &exponents = balance.layers[0].exponents[0];
  EXPECT_EQ(exponents[0], 2);
  EXPECT_EQ(exponents[8], 2);
  EXPECT_EQ(exponents[1], 0);
  EXPECT_EQ(exponents[9], 0);
  EXPECT_EQ(balance.unevenBefore, 16);
  EXPECT_EQ(balance.unevenAfter, 16) << "that of the pair that stays";
  model.facts.gainConvention = GainConvention::Plain;
  EXPECT_EQ(levelGains(model.facts).held(), 0);
}

TEST(Rebalancing, HoldsWhatOnePlusStorageCannotHold) {
  EXPECT_TRUE(holdsExactly(96.5, -3, GainConvention::Plain, DType::BF16));
  EXPECT_TRUE(holdsExactly(4, -1, GainConvention::OnePlus, DType::BF16)); // stored 3, then 1
  EXPECT_FALSE(holdsExactly(1.0078125, -4, GainConvention::OnePlus, DType::BF16)) << "stored -0.93701171875";
  EXPECT_FALSE(holdsExactly(0x1p-125, -5, GainConvention::Plain, DType::BF16)) << "subnormal";
  EXPECT_FALSE(holdsExactly(60000, 3, GainConvention::Plain, DType::F16)) << "overflow";
}

} // namespace
