// Operations, and variants of them, that the golden models don't have: each against numbers worked out by
// hand.
#include "ir/interpreter/Evaluate.h"

#include "frontends/import/ImportModel.h"

#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

using namespace fusebox;
using namespace fusebox::oracle;
using testing::DoubleNear;
using testing::ElementsAre;

namespace {

constexpr llvm::StringRef text = R"(
layer.model @m attributes {config = {}} {
  layer.param @embed : tensor<8x4xbf16> from "embed"
  layer.param @gain : tensor<2xbf16> from "gain"
  layer.param @bias : tensor<8xbf16> from "bias"
  layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>) {
    %x = layer.embed %tokens, @embed : tensor<?x4xbf16>
    %angles = layer.rope_angles %positions inv_freq [1.0] factor 2.0 : tensor<?x2xf32>
    %groups = layer.norm %x, @gain eps 0.0 groups 2 rounds scaled : tensor<?x4xbf16>
    %one_plus = layer.norm %x, @gain eps 0.0 groups 2 one_plus rounds scaled : tensor<?x4xbf16>
    %pairs = layer.rope %x, %angles heads 1 interleaved rounds sum : tensor<?x2xf32>, tensor<?x4xbf16>
    %halves = layer.rope %x, %angles heads 1 half_split rounds sum : tensor<?x2xf32>, tensor<?x4xbf16>
    %gelu = layer.glu gelu %x, %x rounds product : tensor<?x4xbf16>
    %gelu_tanh = layer.glu gelu_tanh %x, %x rounds product : tensor<?x4xbf16>
    %scale = layer.scale %x by 0.3 : tensor<?x4xbf16>
    %softcap = layer.softcap %x at 2.0 : tensor<?x4xbf16>
    %biased = layer.linear %x, @embed bias @bias : tensor<?x4xbf16> -> tensor<?x8xbf16>
    %logits = layer.cast %biased : tensor<?x8xbf16> -> tensor<?x8xf32>
    layer.return %logits : tensor<?x8xf32>
  }
}
)";

/// Every value of a parameter is 3.
void threes(layer::ParamOp, int64_t, int64_t, std::span<double> out) { std::ranges::fill(out, 3.0); }

/// Node `name` of the model above, of these operands, one row each.
std::vector<double> valueOf(llvm::StringRef name, std::vector<std::vector<double>> operands,
                            bool rounds = false) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  loadLayerDialect(context);
  auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  mlir::Operation *node = nullptr;
  module->walk([&](mlir::Operation *op) {
    if (layer::nodeName(op) == name)
      node = op;
  });
  std::vector<Tensor> tensors;
  for (auto &values : operands) {
    tensors.emplace_back(1, int64_t(values.size()));
    tensors.back().values = values;
  }
  llvm::SmallVector<const Tensor *> pointers;
  for (Tensor &tensor : tensors)
    pointers.push_back(&tensor);
  Context calculation;
  calculation.weights = threes;
  calculation.rounds = [=](mlir::Operation *) { return rounds; };
  return evaluate(node, pointers, calculation).values;
}

const std::vector<double> x = {3, 4, 0, -2};

} // namespace

TEST(Ops, NormTakesEachGroupByItself) {
  double first = 3 / std::sqrt(12.5), second = 3 / std::sqrt(2);
  EXPECT_THAT(valueOf("groups", {x}), ElementsAre(DoubleNear(3 * first, 1e-14), DoubleNear(4 * first, 1e-14),
                                                  0, DoubleNear(-2 * second, 1e-14)));
}

TEST(Ops, NormAddsOneToTheGainWhereItIsStoredSo) {
  EXPECT_NEAR(valueOf("one_plus", {x})[0], 4 * 3 / std::sqrt(12.5), 1e-14);
}

TEST(Ops, RopeAnglesAreScaledByTheAttentionFactor) {
  EXPECT_THAT(valueOf("angles", {{5}}), ElementsAre(2 * std::cos(5.0), 2 * std::sin(5.0)));
}

TEST(Ops, RopeTurnsPairsAndLeavesTheRestOfAHead) {
  double c = 0.5, s = 0.25;
  EXPECT_THAT(valueOf("pairs", {x, {c, s}}), ElementsAre(3 * c - 4 * s, 4 * c + 3 * s, 0, -2));
  EXPECT_THAT(valueOf("halves", {x, {c, s}}), ElementsAre(3 * c - 4 * s, 4 * c + 3 * s, 0, -2));
}

TEST(Ops, ActivationsAreTheirDefinitions) {
  EXPECT_NEAR(valueOf("gelu", {{1, 0, 0, 0}, {1, 0, 0, 0}})[0], 0.8413447460685429, 1e-15);
  EXPECT_NEAR(valueOf("gelu_tanh", {{1, 0, 0, 0}, {1, 0, 0, 0}})[0], 0.8411919906082768, 1e-15);
}

TEST(Ops, ScaleAndSoftcapRoundOnce) {
  EXPECT_THAT(valueOf("scale", {x}), ElementsAre(DoubleNear(0.9, 1e-15), DoubleNear(1.2, 1e-15), 0, -0.6));
  EXPECT_EQ(valueOf("scale", {x}, true)[0], roundTo(Rounding::BF16, 0.9));
  EXPECT_NEAR(valueOf("softcap", {x})[0], 2 * std::tanh(1.5), 1e-15);
  EXPECT_EQ(valueOf("softcap", {x}, true)[0], roundTo(Rounding::BF16, 2 * std::tanh(1.5)));
}

TEST(Ops, LinearRoundsAfterTheBias) {
  // 3 · 86.25 + 3; rounded before the bias too, it would be 258 + 3 and so 260.
  EXPECT_EQ(valueOf("biased", {{86, 0.25, 0, 0}})[0], 261.75);
  EXPECT_EQ(valueOf("biased", {{86, 0.25, 0, 0}}, true)[0], 262);
}

TEST(Ops, RoundingIsToNearestTiesToEvenThroughF32) {
  EXPECT_EQ(roundTo(Rounding::BF16, 1 + std::ldexp(1, -8)), 1);
  EXPECT_EQ(roundTo(Rounding::BF16, 1 + 3 * std::ldexp(1, -8)), 1 + std::ldexp(1, -6));
  // Above a tie by less than f32 holds: an f32 first, so a tie.
  EXPECT_EQ(roundTo(Rounding::BF16, 1 + std::ldexp(1, -8) + std::ldexp(1, -30)), 1);
  EXPECT_EQ(roundTo(Rounding::F16, 1 + std::ldexp(1, -11)), 1);
  EXPECT_EQ(roundTo(Rounding::F32, 1 + std::ldexp(1, -24)), 1);
  EXPECT_EQ(roundTo(Rounding::None, 1 + std::ldexp(1, -40)), 1 + std::ldexp(1, -40));
}
