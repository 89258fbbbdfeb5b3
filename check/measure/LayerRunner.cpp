#include "check/measure/LayerRunner.h"

#include "frontends/import/ImportModel.h"
#include "ir/interpreter/BoundWeights.h"
#include "passes/analysis/Verdict.h"
#include "passes/bind-weights/BindWeights.h"

#include "mlir/IR/Diagnostics.h"

#include <numeric>

using namespace fusebox;
using oracle::Tensor;

std::span<const FastNode> fusebox::fastNodes() {
  static const FastNode all[] = {{node::attnNorm, {"attn_norm", "q", "k", "v"}, {"q", "k", "v"}},
                                 {node::mlpNorm, {"mlp_norm", "gate", "up"}, {"gate", "up"}},
                                 {node::glu, {"gate", "up", "glu"}, {"gate", "up"}}};
  return all;
}

static oracle::Rounding roundingOf(const ModelFacts &facts) {
  return facts.activations == DType::BF16 ? oracle::Rounding::BF16 : oracle::Rounding::F32;
}

double fusebox::roundTo(const ModelFacts &facts, double value) {
  return oracle::roundTo(roundingOf(facts), value);
}

Tensor fusebox::rounded(const ModelFacts &facts, Tensor tensor) {
  for (double &value : tensor.values)
    value = roundTo(facts, value);
  return tensor;
}

static std::string_view nameOf(mlir::Operation *op) {
  llvm::StringRef name = layer::nodeName(op);
  return {name.data(), name.size()};
}

Result<LayerRunner> LayerRunner::make(const LoadedModel &model, const ModelFacts &facts) {
  LayerRunner runner;
  runner.facts = &facts;
  runner.context = std::make_unique<mlir::MLIRContext>(mlir::MLIRContext::Threading::DISABLED);
  loadLayerDialect(*runner.context);
  std::string problem;
  mlir::ScopedDiagnosticHandler handler(runner.context.get(), [&](mlir::Diagnostic &diagnostic) {
    problem += (problem.empty() ? "" : "\n") + diagnostic.str();
    return mlir::success();
  });
  bool eager = facts.attentionRounding == AttentionRounding::Eager;
  ImportOptions options = {.dtype = facts.activations,
                           .rounding = eager ? ReferenceRounding::Eager : ReferenceRounding::Sdpa};
  auto imported = importModel(*runner.context, model, options);
  if (failed(imported))
    return modelError(problem);
  runner.module = std::move(*imported);
  runner.op = *runner.module->getOps<layer::ModelOp>().begin();
  if (failed(bindWeights(runner.op, model.checkpoint)))
    return modelError(problem);
  FUSEBOX_ASSIGN(runner.weights, oracle::boundWeights(runner.op, model.checkpoint.files()));
  return runner;
}

oracle::WeightRows LayerRunner::foldedWeights(std::set<std::string_view> roles) const {
  return [this, roles](layer::ParamOp param, int64_t index, int64_t first, std::span<double> out) {
    weights(param, index, first, out);
    llvm::StringRef symbol = param.getSymName();
    std::string_view role(symbol.data(), symbol.size());
    if (!roles.contains(role))
      return;
    const NormFacts *norm = &facts->finalNorm;
    if (index >= 0) {
      const LayerFacts &layer = facts->layers[size_t(index)];
      const auto &before = role == "gate" || role == "up" ? layer.mlpNorm : layer.attnNorm;
      if (!before)
        return; // nothing to fold where norms come after
      norm = &*before;
    }
    for (size_t i = 0; i < out.size(); ++i) {
      double gain = norm->gain[i % norm->gain.size()];
      out[i] = gain == 0 ? 0 : roundTo(*facts, out[i] * gain) / gain;
    }
  };
}

Result<ModelRun> LayerRunner::run(std::span<const int32_t> ids, const FastNode *fast) const {
  ModelRun result;
  result.sides.resize(facts->layers.size());
  Tensor hidden;
  auto observe = [&](const oracle::Observation &seen) {
    if (fast)
      return; // only the logits are wanted
    std::string_view node = nameOf(seen.op);
    if (node == "q_rope")
      result.sides[size_t(seen.layer)].q = seen.value;
    else if (node == "k_rope")
      result.sides[size_t(seen.layer)].k = seen.value;
    // A layer's input is the value that its repeat starts with, or the last layer's result.
    for (mlir::Operation *user : seen.op->getUsers()) {
      auto repeat = llvm::dyn_cast<layer::RepeatOp>(user);
      bool starts = repeat && repeat.getInitial().getDefiningOp() == seen.op;
      if (starts || (seen.layer >= 0 && user->hasTrait<mlir::OpTrait::IsTerminator>()))
        result.inputs.push_back(seen.value);
    }
  };
  oracle::Interpreter interpreter(
      op, fast ? foldedWeights(fast->folded) : weights,
      [&](mlir::Operation *node) { return fast && fast->rounding.contains(nameOf(node)); });
  FUSEBOX_ASSIGN(result.logits, interpreter.step(ids, {}, observe));
  return result;
}

Tensor LayerRunner::fastLogits(const ModelRun &exact) const {
  oracle::Context how;
  how.weights = foldedWeights({"lm_head", "embed"}); // embed where they are tied
  how.rounds = [](mlir::Operation *node) {
    return nameOf(node) == "final_norm" || nameOf(node) == "lm_head";
  };
  layer::GraphOp graph = layer::ModelOp(op).getGraph();
  mlir::Block &body = graph.getBody().front();
  const Tensor &last = exact.inputs.back();
  Tensor rows(last.rows, 1);
  std::iota(rows.values.begin(), rows.values.end(), 0.0);
  // Given the layers' result and the rows, what follows is computed, and nothing before.
  oracle::Values values;
  values[body.getArgument(2)] = std::make_shared<const Tensor>(std::move(rows));
  layer::RepeatOp end;
  for (auto repeat : graph.getBody().getOps<layer::RepeatOp>())
    end = repeat;
  values[end.getResult()] = std::make_shared<const Tensor>(last);
  oracle::evaluate(body, values, how);
  return *values.lookup(body.getTerminator()->getOperand(0));
}

Sides LayerRunner::sidesOf(int64_t index, const ModelRun &exact, bool folded) const {
  // With a QK-norm the region starts at the projections' results, else at the hidden vector.
  static const std::set<std::string_view> afterNorm = {"q_norm", "k_norm", "q_rope", "k_rope"},
                                          fromHidden = {"attn_norm", "q", "k", "q_rope", "k_rope"};
  bool normed = facts->qkNorm != QkNorm::None;
  const std::set<std::string_view> &rounding = normed ? afterNorm : fromHidden;
  oracle::Context how;
  how.weights = folded ? foldedWeights({"q", "k"}) : weights;
  how.layer = index;
  how.rounds = [&](mlir::Operation *node) { return rounding.contains(nameOf(node)); };

  // Operations from the layer's input to q and k, in their order; nothing else is run.
  layer::GraphOp graph = layer::ModelOp(op).getGraph();
  layer::RepeatOp repeat;
  for (auto candidate : graph.getBody().getOps<layer::RepeatOp>())
    if (index >= int64_t(candidate.getFirst()) &&
        index < int64_t(candidate.getFirst() + candidate.getCount()))
      repeat = candidate;
  mlir::Block &body = repeat.getBody().front();
  oracle::Values values;
  const Tensor &input = exact.inputs[size_t(index)];
  values[body.getArgument(0)] = std::make_shared<const Tensor>(input);
  Tensor positions(input.rows, 1);
  std::iota(positions.values.begin(), positions.values.end(), 0.0);
  for (auto angles : graph.getBody().getOps<layer::RopeAnglesOp>()) {
    oracle::Context rounds;
    rounds.rounds = [](mlir::Operation *) { return true; };
    values[angles->getResult(0)] =
        std::make_shared<const Tensor>(oracle::evaluate(angles, {&positions}, rounds));
  }
  Sides sides;
  static const std::set<std::string_view> wanted = {"attn_norm", "q",      "k",     "q_norm",
                                                    "k_norm",    "q_rope", "k_rope"};
  for (mlir::Operation &node : body.without_terminator()) {
    if (!wanted.contains(nameOf(&node)))
      continue;
    llvm::SmallVector<const Tensor *> operands;
    for (mlir::Value operand : node.getOperands())
      operands.push_back(values.lookup(operand).get());
    auto value = std::make_shared<const Tensor>(oracle::evaluate(&node, operands, how));
    values[node.getResult(0)] = value;
    if (nameOf(&node) == "q_rope")
      sides.q = *value;
    if (nameOf(&node) == "k_rope")
      sides.k = *value;
  }
  return sides;
}
