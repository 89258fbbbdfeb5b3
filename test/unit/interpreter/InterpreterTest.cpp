// What the oracle promises beside the goldens: steps, roundings, cuts through a body, regions, weights.
#include "test/golden/OracleModel.h"

#include "ir/interpreter/BoundWeights.h"

#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

using namespace fusebox;
using namespace fusebox::test;
using oracle::Mode;
using oracle::Tensor;

namespace {

const std::string goldens = FUSEBOX_TEST_DATA "/golden/";

mlir::Operation *findNode(layer::ModelOp model, llvm::StringRef name) {
  mlir::Operation *found = nullptr;
  model.walk([&](mlir::Operation *op) {
    if (layer::nodeName(op) == name)
      found = op;
  });
  return found;
}

/// Parameter values that differ from each other: bf16 numbers in (−1, 1) by name, layer and place.
void madeUpRows(layer::ParamOp param, int64_t layer, int64_t first, std::span<double> out) {
  double phase = double(param.getSymName().size()) + 7.0 * double(layer) + double(first);
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = oracle::roundTo(oracle::Rounding::BF16, std::sin(phase + 1.37 * double(i)));
}

Tensor madeUp(int64_t rows, int64_t columns) {
  Tensor out(rows, columns);
  for (size_t i = 0; i < out.values.size(); ++i)
    out.values[i] = oracle::roundTo(oracle::Rounding::BF16, std::cos(0.7 * double(i)));
  return out;
}

/// A model parsed from text, whose weights are made up.
struct TextModel {
  explicit TextModel(llvm::StringRef text) {
    loadLayerDialect(context);
    module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    calculation.weights = madeUpRows;
  }
  layer::ModelOp model() { return *module->getOps<layer::ModelOp>().begin(); }

  mlir::MLIRContext context{mlir::MLIRContext::Threading::DISABLED};
  mlir::OwningOpRef<mlir::ModuleOp> module;
  oracle::Context calculation;
};

constexpr llvm::StringRef fusedModel = R"(
layer.model @m attributes {config = {}} {
  layer.param @embed : tensor<8x16xbf16> from "embed"
  layer.param @gain : tensor<16xbf16> from "gain"
  layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>) {
    %x = layer.embed %tokens, @embed : tensor<?x16xbf16>
    %f = layer.fused "norm_linear" CONTRACT(%a = %x : tensor<?x16xbf16>) -> (tensor<?x8xbf16>) {
      %norm = layer.norm %a, @gain eps 1.0e-6 rounds normalised_and_scaled : tensor<?x16xbf16>
      %lm_head = layer.linear %norm, @embed : tensor<?x16xbf16> -> tensor<?x8xbf16>
      layer.return %lm_head : tensor<?x8xbf16>
    }
    %logits = layer.cast %f : tensor<?x8xbf16> -> tensor<?x8xf32>
    layer.return %logits : tensor<?x8xf32>
  }
}
)";

Tensor runFused(llvm::StringRef contract, Mode mode) {
  std::string text = fusedModel.str();
  text.replace(text.find("CONTRACT"), 8, contract);
  TextModel parsed(text);
  std::vector<int32_t> tokens = {1, 5, 3};
  auto result = oracle::interpret(parsed.model(), madeUpRows, tokens, mode);
  EXPECT_TRUE(result);
  return std::move(*result);
}

} // namespace

TEST(Interpreter, StepsGiveTheLogitsOfOneStep) {
  OracleModel model(goldens + "qwen3", {.dtype = DType::BF16});
  std::vector<int32_t> ids = Expected(goldens + "qwen3").ids("input_ids");
  for (Mode mode : {Mode::F64, Mode::Rounded}) {
    Tensor whole = model.run(ids, mode);
    oracle::Interpreter sequence(model.model(), model.weights, mode);
    std::vector<double> parts;
    for (size_t start = 0; start < ids.size();) {
      size_t count = std::min<size_t>(start == 0 ? 17 : 1, ids.size() - start);
      auto logits = sequence.step(std::span(ids).subspan(start, count));
      ASSERT_TRUE(logits);
      parts.insert(parts.end(), logits->values.begin(), logits->values.end());
      start += count;
    }
    EXPECT_EQ(parts, whole.values);
  }
}

TEST(Interpreter, GivesTheRowsAskedFor) {
  OracleModel model(goldens + "llama", {});
  std::vector<int32_t> ids = {3, 1, 4, 1, 5}, rows = {4, 0};
  Tensor all = model.run(ids, Mode::F64);
  auto some = oracle::Interpreter(model.model(), model.weights, Mode::F64).step(ids, rows);
  ASSERT_TRUE(some);
  ASSERT_EQ(some->rows, 2);
  EXPECT_TRUE(std::ranges::equal(some->row(0), all.row(4)));
  EXPECT_TRUE(std::ranges::equal(some->row(1), all.row(0)));
}

TEST(Interpreter, RefusesTokensAndRowsThatDoNotExist) {
  OracleModel model(goldens + "llama", {});
  std::vector<int32_t> tooLarge = {1, 384}, good = {1}, noRow = {1};
  oracle::Interpreter sequence(model.model(), model.weights, Mode::F64);
  auto token = sequence.step(tooLarge), row = sequence.step(good, noRow);
  ASSERT_FALSE(token);
  EXPECT_EQ(token.error().message, "token 384 is not in the vocabulary of 384");
  ASSERT_FALSE(row);
  EXPECT_EQ(row.error().message, "row 1 is not in a step of 1 tokens");
}

TEST(Interpreter, ObservesEveryNodeUnderItsName) {
  OracleModel model(goldens + "qwen3", {});
  std::set<std::string> names;
  std::vector<int32_t> ids = {1, 2};
  model.run(ids, Mode::F64, [&](const oracle::Observation &seen) {
    names.insert(seen.name);
    EXPECT_EQ(seen.value.rows, 2);
  });
  for (const char *name :
       {"embed", "angles", "decoder.0.q", "decoder.2.residual", "decoder.1.attn", "logits"})
    EXPECT_TRUE(names.count(name)) << name;
  EXPECT_EQ(names.size(), 2u + 3u * 17u + 4u);
}

TEST(Interpreter, EveryNodeOfABf16ModelIsABf16Value) {
  OracleModel model(goldens + "ernie4_5", {.dtype = DType::BF16});
  std::vector<int32_t> ids = {7, 8, 9};
  model.run(ids, Mode::Rounded, [&](const oracle::Observation &seen) {
    if (seen.name == "angles")
      return;
    for (double value : seen.value.values)
      ASSERT_EQ(oracle::roundTo(oracle::Rounding::BF16, value), value) << seen.name;
  });
}

TEST(Interpreter, SdpaIsNearerToF64ThanEager) {
  std::vector<int32_t> ids = Expected(goldens + "llama").ids("input_ids");
  auto attentionOf = [&](ReferenceRounding rounding, Mode mode) {
    OracleModel model(goldens + "llama", {.dtype = DType::BF16, .rounding = rounding});
    Tensor first;
    model.run(ids, mode, [&](const oracle::Observation &seen) {
      if (seen.name == "decoder.0.attn")
        first = seen.value;
    });
    return first.values;
  };
  std::vector<double> exact = attentionOf(ReferenceRounding::Sdpa, Mode::F64);
  EXPECT_EQ(exact, attentionOf(ReferenceRounding::Eager, Mode::F64));
  EXPECT_LT(relativeError(attentionOf(ReferenceRounding::Sdpa, Mode::Rounded), exact),
            relativeError(attentionOf(ReferenceRounding::Eager, Mode::Rounded), exact));
}

TEST(Evaluate, FollowsFromACutWhatCanBeComputed) {
  OracleModel loaded(goldens + "llama", {.dtype = DType::BF16});
  layer::ModelOp model = loaded.model();
  mlir::Operation *norm = findNode(model, "attn_norm"), *q = findNode(model, "q"),
                  *rope = findNode(model, "q_rope");
  oracle::Values values;
  values[norm->getResult(0)] = std::make_shared<Tensor>(madeUp(3, 128));
  oracle::Context context;
  context.weights = loaded.weights;
  context.layer = 1;
  oracle::evaluate(*norm->getBlock(), values, context);
  EXPECT_TRUE(values.contains(q->getResult(0)));
  EXPECT_FALSE(values.contains(rope->getResult(0))) << "its angles were not given";
}

TEST(Evaluate, RoundsWhereAskedAlone) {
  OracleModel loaded(goldens + "llama", {.dtype = DType::BF16});
  mlir::Operation *norm = findNode(loaded.model(), "attn_norm"), *q = findNode(loaded.model(), "q");
  Tensor input = madeUp(4, 128);
  oracle::Context context;
  context.weights = loaded.weights;
  context.layer = 0;
  auto normed = [&] { return oracle::evaluate(norm, {&input}, context).values; };
  std::vector<double> exact = normed();
  context.rounds = [&](mlir::Operation *op) { return op == q; };
  EXPECT_EQ(normed(), exact);
  context.rounds = [&](mlir::Operation *op) { return op == norm; };
  double error = relativeError(normed(), exact);
  EXPECT_GT(error, 1e-4);
  EXPECT_LT(error, std::ldexp(1, -7));
}

TEST(Evaluate, WideRegionsRoundAtTheirEndOnly) {
  Tensor exact = runFused("exact", Mode::F64);
  EXPECT_EQ(exact.values, runFused("wide", Mode::F64).values);
  Tensor wide = runFused("wide", Mode::Rounded), rounded = runFused("exact", Mode::Rounded);
  EXPECT_NE(wide.values, rounded.values);
  for (size_t i = 0; i < exact.values.size(); ++i)
    EXPECT_EQ(wide.values[i], oracle::roundTo(oracle::Rounding::BF16, exact.values[i]));
}

TEST(BoundWeights, OpensTheFilesThatTheModelNames) {
  OracleModel model(goldens + "llama", {});
  auto weights = oracle::boundWeights(model.model());
  ASSERT_TRUE(weights);
  layer::ParamOp param = layer::lookupParam(model.model().getGraph(), "k");
  std::vector<double> ours(128), theirs(128);
  (*weights)(param, 2, 5, ours);
  model.weights(param, 2, 5, theirs);
  EXPECT_EQ(ours, theirs);
}

TEST(BoundWeights, RefusesWhatIsNotBoundOrCanNotBeRun) {
  auto refusal = [](auto change) {
    OracleModel model(goldens + "llama", {});
    change(layer::lookupParam(model.model().getGraph(), "q"), mlir::Builder(&model.context));
    auto weights = oracle::boundWeights(model.model());
    return weights ? "accepted" : weights.error().message;
  };
  const std::string q = "parameter @q (model.layers.{}.self_attn.q_proj.weight) ";
  EXPECT_EQ(refusal([](layer::ParamOp param, mlir::Builder) { param.removeSourcesAttr(); }),
            q + "is not bound to a file: run bind-weights first");
  EXPECT_EQ(refusal([](layer::ParamOp param, mlir::Builder builder) {
              param.setRecipeAttr(builder.getStrArrayAttr({"transpose"}));
            }),
            q + "has a recipe step that can't be run: 'transpose'");
  std::string outside = refusal([](layer::ParamOp param, mlir::Builder builder) {
    auto source = layer::SourceAttr::get(builder.getContext(), 0, 1 << 30, 32768, "bf16", {128, 128});
    param.setSourcesAttr(builder.getArrayAttr({source, source, source}));
  });
  EXPECT_TRUE(llvm::StringRef(outside).starts_with(q + "lies outside of ")) << outside;
}
