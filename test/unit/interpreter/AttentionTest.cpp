// The oracle's attention against its definition, written out: grouped heads, windows, caps, cached keys,
// sdpa's blocks.
#include "ir/interpreter/Ops.h"

#include "frontends/import/ImportModel.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/MLIRContext.h"

#include <gtest/gtest.h>

#include <cmath>

using namespace fusebox;
using namespace fusebox::oracle;

namespace {

constexpr int64_t heads = 4, keyHeads = 2, head = 6;

struct Case {
  int64_t rows = 9, keys = 9, window = 0;
  double cap = 0;
  layer::AttentionRounding rounding = layer::AttentionRounding::Sdpa;
};

Tensor madeUp(int64_t rows, int64_t columns, double phase) {
  Tensor out(rows, columns);
  for (size_t i = 0; i < out.values.size(); ++i)
    out.values[i] = roundTo(Rounding::BF16, 1.5 * std::sin(phase + 0.61 * double(i)));
  return out;
}

struct Inputs {
  explicit Inputs(const Case &c)
      : q(madeUp(c.rows, heads * head, 0.1)), k(madeUp(c.keys, keyHeads * head, 0.2)),
        v(madeUp(c.keys, keyHeads * head, 0.3)) {}
  Tensor q, k, v;
};

/// An operation of that shape, run on made-up values.
Tensor attend(const Case &c, Rounding r) {
  mlir::MLIRContext context;
  loadLayerDialect(context);
  mlir::OpBuilder builder(&context);
  auto type = [&](int64_t columns) {
    return mlir::RankedTensorType::get({mlir::ShapedType::kDynamic, columns}, builder.getBF16Type());
  };
  mlir::Block block;
  for (int64_t columns : {heads * head, keyHeads * head, keyHeads * head})
    block.addArgument(type(columns), builder.getUnknownLoc());
  builder.setInsertionPointToStart(&block);
  auto op = layer::AttentionOp::create(
      builder, builder.getUnknownLoc(), type(heads * head), block.getArgument(0), block.getArgument(1),
      block.getArgument(2), builder.getI64IntegerAttr(heads), builder.getI64IntegerAttr(keyHeads),
      builder.getF64FloatAttr(0.4), c.window ? builder.getI64IntegerAttr(c.window) : mlir::IntegerAttr(),
      c.cap ? builder.getF64FloatAttr(c.cap) : mlir::FloatAttr(),
      layer::AttentionRoundingAttr::get(&context, c.rounding), mlir::StringAttr());
  Inputs in(c);
  return attention(op, in.q, in.k, in.v, r);
}

/// The definition in f64, one query and head at a time.
std::vector<double> definition(const Case &c) {
  Inputs in(c);
  std::vector<double> out;
  for (int64_t i = 0; i < c.rows; ++i)
    for (int64_t h = 0; h < heads; ++h) {
      int64_t position = c.keys - c.rows + i, keyHead = h / (heads / keyHeads);
      int64_t first = c.window ? std::max<int64_t>(0, position - c.window + 1) : 0;
      std::vector<double> sum(head);
      double total = 0;
      for (int64_t j = first; j <= position; ++j) {
        double score = 0;
        for (int64_t d = 0; d < head; ++d)
          score += in.q.row(i)[h * head + d] * in.k.row(j)[keyHead * head + d];
        score *= 0.4;
        double weight = std::exp(c.cap ? c.cap * std::tanh(score / c.cap) : score);
        total += weight;
        for (int64_t d = 0; d < head; ++d)
          sum[d] += weight * in.v.row(j)[keyHead * head + d];
      }
      for (double value : sum)
        out.push_back(value / total);
    }
  return out;
}

void expectDefinition(const Case &c) {
  Tensor ours = attend(c, Rounding::None);
  std::vector<double> exact = definition(c);
  for (size_t i = 0; i < exact.size(); ++i)
    ASSERT_NEAR(ours.values[i], exact[i], 1e-13) << i;
}

} // namespace

TEST(Attention, IsCausalWithGroupedHeads) { expectDefinition({}); }
TEST(Attention, ReadsCachedKeys) { expectDefinition({.rows = 3, .keys = 200}); }
TEST(Attention, SplitsManyQueriesIntoBlocks) { expectDefinition({.rows = 150, .keys = 150}); }
TEST(Attention, SeesNoFurtherThanItsWindow) { expectDefinition({.rows = 70, .keys = 150, .window = 7}); }
TEST(Attention, CapsItsScores) { expectDefinition({.cap = 1.5}); }
TEST(Attention, EagerAndSdpaAreOneFunctionOfRealNumbers) {
  expectDefinition({.keys = 80, .rounding = layer::AttentionRounding::Eager});
}

TEST(Attention, SdpaOfOneBlockRoundsTheExponentialAndTheEnd) {
  // One query that sees one block of keys: its running maximum is the maximum.
  Case c{.rows = 1, .keys = 40};
  Inputs in(c);
  Tensor ours = attend(c, Rounding::BF16);
  for (int64_t h = 0; h < heads; ++h) {
    std::vector<float> scores(40);
    for (int64_t j = 0; j < 40; ++j) {
      double score = 0;
      for (int64_t d = 0; d < head; ++d)
        score += in.q.row(0)[h * head + d] * in.k.row(j)[h / 2 * head + d];
      scores[j] = float(score) * 0.4f;
    }
    float largest = *std::ranges::max_element(scores);
    double total = 0, sum = 0;
    for (int64_t j = 0; j < 40; ++j) {
      float weight = std::exp(scores[j] - largest);
      total += weight;
      sum += roundTo(Rounding::BF16, weight) * in.v.row(j)[h / 2 * head];
    }
    EXPECT_EQ(ours.row(0)[h * head], roundTo(Rounding::BF16, sum / total));
  }
}

TEST(Attention, RoundedResultsAreNearAndInTheType) {
  for (auto rounding : {layer::AttentionRounding::Eager, layer::AttentionRounding::Sdpa}) {
    Case c{.rows = 40, .keys = 300, .rounding = rounding};
    Tensor ours = attend(c, Rounding::BF16);
    std::vector<double> exact = definition(c);
    for (size_t i = 0; i < exact.size(); ++i) {
      EXPECT_NEAR(ours.values[i], exact[i], 0.03);
      EXPECT_EQ(ours.values[i], roundTo(Rounding::BF16, ours.values[i]));
    }
  }
}
