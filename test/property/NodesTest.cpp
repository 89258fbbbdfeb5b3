// Certificates of all nodes but the scores, against the oracle: bounds hold on goldens, random and
// adversarial weights; weights made for it come near them; expected deviations are those of random weights.
#include "test/property/Region.h"

#include <cmath>
#include <gtest/gtest.h>
#include <map>

using namespace fusebox;
using namespace fusebox::test;
using oracle::Tensor;

namespace {

std::string golden(const std::string &name) { return FUSEBOX_TEST_DATA "/golden/" + name; }

/// Sums in f32, which the bounds leave out: relative to what is summed. Below the normal range a rounding is
/// absolute.
constexpr double f32Slack = 1e-4, subnormalSlack = 0x1p-120;

/// A verdict's node, and nodes of the graph that its region covers; the last one is its result.
struct NodeRegion {
  std::string_view node;
  std::vector<std::string> nodes;
  bool residual = false; ///< the region adds its input: the verdict's starts at the embedding
  bool hasFast = false;  ///< Region computes contract fast: gains folded into weights that are rounded anew
  int64_t layer() const { return node == node::logits ? noLayer : 0; }
};

const NodeRegion regions[] = {{node::attnNorm, {"attn_norm", "q"}, false, true},
                              {node::attnNorm, {"attn_norm", "k"}, false, true},
                              {node::attnNorm, {"attn_norm", "v"}, false, true},
                              {node::attention, {"attn"}},
                              {node::attnResidual, {"o", "attn_residual"}, true},
                              {node::mlpNorm, {"mlp_norm", "gate"}, false, true},
                              {node::mlpNorm, {"mlp_norm", "up"}, false, true},
                              {node::glu, {"gate", "up", "glu"}, false, true},
                              {node::mlpResidual, {"down", "residual"}, true},
                              {node::logits, {"final_norm", "lm_head"}, false, true}};

struct Case {
  How how;
  Contract contract;
};
std::vector<Case> casesOf(const NodeRegion &region) {
  std::vector<Case> cases = {{How::Reference, Contract::Exact}, {How::Wide, Contract::Wide}};
  if (region.hasFast)
    cases.push_back({How::Fast, Contract::Fast});
  return cases;
}

/// Writes weights of a region's facts.
TestModel &writer() {
  static TestModel model({.layers = 0});
  return model;
}

double largestOf(const Tensor &tensor) {
  double largest = 0;
  for (double value : tensor.values)
    largest = std::max(largest, std::fabs(value));
  return largest;
}

void expectBounds(Region &region, const Analysis &analysis, const Tensor &input) {
  for (const NodeRegion &at : regions) {
    Tensor exact = region.value(at.nodes.back(), at.nodes, at.layer(), input, How::Real);
    double before = at.residual ? largestOf(input) : 0;
    for (auto [how, contract] : casesOf(at)) {
      const Verdict &verdict = *analysis.find(at.layer(), at.node, contract);
      Tensor rounded = region.value(at.nodes.back(), at.nodes, at.layer(), input, how);
      double range = 0, deviation = 0;
      for (size_t i = 0; i < exact.values.size(); ++i) {
        range = std::max(range, std::fabs(exact.values[i]));
        deviation = std::max(deviation, std::fabs(rounded.values[i] - exact.values[i]));
      }
      EXPECT_LE(range, verdict.range * (1 + f32Slack) + before) << at.node;
      EXPECT_LE(deviation,
                verdict.deviationWorst + f32Slack * verdict.range + 0x1p-8 * before + subnormalSlack)
          << at.node << " under " << contractName(contract);
    }
  }
}

class Nodes : public testing::TestWithParam<const char *> {};

TEST_P(Nodes, WorstCasesHold) {
  Region region(golden(GetParam()));
  for (unsigned seed = 0; seed < 3; ++seed) {
    if (seed != 0)
      region.randomise(seed, seed == 1 ? 0.3 : 1.5);
    expectBounds(region, analyzeModel(region.facts), region.normalInput(8));
  }
}

TEST_P(Nodes, WorstCasesHoldForAdversarialWeights) {
  Region region(golden(GetParam()));
  ModelFacts &facts = region.facts;
  LayerFacts &layer = facts.layers[0];
  auto analysed = [&] {
    Analysis analysis = analyzeModel(facts);
    expectBounds(region, analysis, region.normalInput(4));
    return analysis;
  };
  auto scaleRow = [&](MatrixView &matrix, int64_t row, double factor) {
    for (int64_t i = 0; i < matrix.columns; ++i)
      writer().set(matrix, row, i, factor * TestModel::at(matrix, row, i));
  };
  // Gains of very different sizes and signs, zeros among them.
  region.randomise(11);
  for (NormFacts *norm : {&*layer.attnNorm, &*layer.mlpNorm, &facts.finalNorm})
    for (size_t i = 0; i < norm->gain.size(); ++i)
      norm->gain[i] = i % 5 == 0 ? 0 : std::ldexp(i % 2 ? -norm->gain[i] : norm->gain[i], int(i % 21) - 10);
  analysed();
  // Rows that are much larger, much smaller, zero or denormal.
  region.randomise(12);
  for (LinearFacts *linear : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) {
    scaleRow(linear->weight, 0, 0x1p20);
    scaleRow(linear->weight, 1, 0x1p-40);
    scaleRow(linear->weight, 2, 0);
    scaleRow(linear->weight, 3, 0x1p-128);
  }
  analysed();
  // Weights so large that products leave bf16's range: refused, not bounded.
  for (LinearFacts *linear : {&layer.gate, &layer.up})
    scaleRow(linear->weight, 5, 0x1p100);
  Analysis analysis = analyzeModel(facts);
  EXPECT_FALSE(analysis.find(0, node::glu, Contract::Wide)->rangeProved);
  EXPECT_FALSE(analysis.find(0, node::mlpResidual, Contract::Wide)->rangeProved);
  EXPECT_TRUE(analysis.find(0, node::attention, Contract::Wide)->legal);
}

/// The output that a verdict speaks of, the one with the largest weights; none: the one with the largest
/// values.
std::vector<double> sizesByWeights(const NodeRegion &at, const LayerMeasures &layer) {
  const std::pair<std::string_view, const std::vector<double> *> projections[] = {
      {"q", &layer.q}, {"k", &layer.k}, {"v", &layer.v}, {"gate", &layer.gate}, {"up", &layer.up}};
  for (auto [name, rows] : projections)
    if (at.nodes.back() == name)
      return *rows;
  std::vector<double> products;
  for (size_t i = 0; i < layer.gate.size() && at.node == node::glu; ++i)
    products.push_back(layer.gate[i] * layer.up[i]);
  return products;
}

/// Measured over expected root mean square of that output; of a residual, over all outputs, as its verdict.
double measuredOverExpected(const NodeRegion &at, const Verdict &verdict, std::vector<double> sizes,
                            const Tensor &exact, const Tensor &rounded) {
  bool byValues = sizes.empty();
  sizes.resize(size_t(exact.columns));
  std::vector<double> errors(sizes.size());
  double mean = 0;
  for (int64_t r = 0; r < exact.rows; ++r)
    for (size_t c = 0; c < sizes.size(); ++c) {
      double error = std::pow(rounded.row(r)[c] - exact.row(r)[c], 2) / double(exact.rows);
      errors[c] += error;
      mean += error / double(sizes.size());
      if (byValues)
        sizes[c] += std::pow(exact.row(r)[c], 2);
    }
  size_t largest = size_t(std::ranges::max_element(sizes) - sizes.begin());
  return std::sqrt(at.residual ? mean : errors[largest]) / verdict.deviationExpected;
}

/// Runs `count` rows at a time: they attend to each other, and to no others.
Tensor inGroups(Region &region, const NodeRegion &at, const Tensor &input, How how, int64_t count) {
  Tensor all;
  for (int64_t r = 0; r < input.rows; r += count) {
    Tensor rows(count, input.columns);
    std::copy_n(input.row(r).data(), rows.values.size(), rows.values.data());
    Tensor value = region.value(at.nodes.back(), at.nodes, at.layer(), rows, how);
    all.columns = value.columns;
    all.rows += count;
    all.values.insert(all.values.end(), value.values.begin(), value.values.end());
  }
  return all;
}

TEST_P(Nodes, ExpectedDeviationIsThatOfRandomWeights) {
  constexpr int seeds = 3;
  std::map<std::pair<std::string_view, Contract>, std::vector<double>> ratios;
  for (unsigned seed = 1; seed <= seeds; ++seed) {
    Region region(golden(GetParam()));
    region.randomise(seed);
    ModelMeasures measures = measureWeights(region.facts, 1);
    Analysis analysis = judgeModel(region.facts, measures);
    Tensor input = region.normalInput(72);
    for (const NodeRegion &at : regions) {
      Tensor scaled = input;
      if (at.residual)
        for (double &value : scaled.values)
          value *= std::sqrt(at.node == node::attnResidual ? measures.layers[0].meanBefore
                                                           : measures.layers[0].meanMiddle);
      bool attends = at.node == node::attention || at.node == node::attnResidual;
      auto run = [&](How how) {
        // A row that attends to one key is the one that the expectation speaks of.
        return attends ? inGroups(region, at, scaled, how, 1)
                       : region.value(at.nodes.back(), at.nodes, at.layer(), scaled, how);
      };
      Tensor exact = run(How::Real);
      for (const Case &as : casesOf(at)) {
        const Verdict &verdict = *analysis.find(at.layer(), at.node, as.contract);
        // Of the projections that a norm feeds, the one with the largest row is the verdict's.
        double ratio =
            measuredOverExpected(at, verdict, sizesByWeights(at, measures.layers[0]), exact, run(as.how));
        ratios[{at.node, as.contract}].push_back(ratio);
      }
    }
  }
  for (auto &[key, values] : ratios) {
    // Several projections a seed: the largest of each seed counts.
    size_t each = values.size() / seeds;
    double mean = 0;
    for (int seed = 0; seed < seeds; ++seed)
      mean +=
          *std::max_element(values.begin() + long(seed * each), values.begin() + long((seed + 1) * each)) /
          seeds;
    EXPECT_GE(mean, 0.7) << key.first << " " << contractName(key.second);
    EXPECT_LE(mean, 1.3) << key.first << " " << contractName(key.second);
    std::printf("%-16s %-14s %-9s measured over expected: %.3f\n", GetParam(), key.first.data(),
                contractName(key.second).data(), mean);
  }
}

INSTANTIATE_TEST_SUITE_P(, Nodes, testing::Values("qwen3", "llama", "ernie4_5"),
                         [](const auto &info) { return std::string(info.param); });

/// Weights of which each matrix reads one element into one: nothing averages out.
void makeSparse(Region &region) {
  ModelFacts &facts = region.facts;
  auto only = [&](MatrixView &matrix, double value) {
    matrix = region.zeros(matrix.rows, matrix.columns);
    writer().set(matrix, 0, 0, value);
  };
  bool tied = facts.lmHead.bytes.data() == facts.embed.bytes.data();
  only(facts.embed, 3);
  if (tied)
    facts.lmHead = facts.embed;
  else
    only(facts.lmHead, 3);
  for (LayerFacts &layer : facts.layers)
    for (LinearFacts *linear : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down})
      only(linear->weight, linear == &layer.q ? 0.01 : 3); // small scores: rows attend to more than one key
}

TEST(Constructed, InputsReachTheBoundsOfEveryNode) {
  for (const char *name : {"qwen3", "llama"}) {
    Region region(golden(name));
    region.randomise(5);
    makeSparse(region);
    Analysis analysis = analyzeModel(region.facts);
    constexpr int64_t trials = 64;
    // Almost all of the input lies in the element that is read; a little elsewhere moves mantissas.
    Tensor input(trials, region.facts.hidden);
    std::uniform_real_distribution<double> size(0.5, 3), share(0, 0.6);
    for (int64_t r = 0; r < trials; ++r) {
      input.row(r)[0] = size(region.random);
      input.row(r)[1] = share(region.random);
    }
    struct Reached {
      double value = 0, deviation = 0; ///< over their bounds
    };
    // A norm's verdict is that of the largest projection that reads it.
    std::map<std::pair<std::string_view, Contract>, Reached> all;
    for (const NodeRegion &at : regions) {
      Tensor exact = inGroups(region, at, input, How::Real, 2);
      for (const Case &as : casesOf(at)) {
        const Verdict &verdict = *analysis.find(at.layer(), at.node, as.contract);
        Tensor rounded = inGroups(region, at, input, as.how, 2);
        Reached &reached = all[{at.node, as.contract}];
        for (size_t i = 0; i < exact.values.size(); ++i) {
          double deviation = std::fabs(rounded.values[i] - exact.values[i]);
          reached.value = std::max(reached.value, std::fabs(exact.values[i]) / verdict.range);
          reached.deviation = std::max(reached.deviation, deviation / verdict.deviationWorst);
        }
      }
    }
    for (const auto &[key, reached] : all) {
      EXPECT_GE(reached.value, 0.25) << key.first;
      EXPECT_GE(reached.deviation, 0.25) << key.first << " " << contractName(key.second);
      std::printf("%-6s %-14s %-9s value %.3f of its bound, deviation %.3f\n", name, key.first.data(),
                  contractName(key.second).data(), reached.value, reached.deviation);
    }
  }
}

} // namespace
