#include "ir/interpreter/Interpreter.h"

#include <numeric>

using namespace fusebox;
using namespace fusebox::oracle;

/// Whole numbers as a column.
static std::shared_ptr<const Tensor> column(std::span<const int32_t> numbers) {
  auto out = std::make_shared<Tensor>(int64_t(numbers.size()), 1);
  std::ranges::copy(numbers, out->values.begin());
  return out;
}

/// Rows of the table that tokens index.
static int64_t vocabulary(layer::GraphOp graph) {
  int64_t smallest = std::numeric_limits<int32_t>::max();
  graph.walk([&](layer::EmbedOp op) {
    auto table = layer::lookupParam(op, op.getTable());
    smallest = std::min(smallest, llvm::cast<mlir::RankedTensorType>(table.getType()).getDimSize(0));
  });
  return smallest;
}

static std::string observedName(mlir::Operation *op, int64_t layer) {
  std::string node = layer::nodeName(op).str();
  layer::RepeatOp repeat = layer::enclosingRepeat(op);
  return repeat ? repeat.getBlock().str() + "." + std::to_string(layer) + "." + node : node;
}

Result<Tensor> Interpreter::step(std::span<const int32_t> tokens, std::span<const int32_t> logitsRows,
                                 const Observer &observer) {
  layer::GraphOp graph = model.getGraph();
  int64_t limit = vocabulary(graph);
  for (int32_t token : tokens)
    if (token < 0 || token >= limit)
      return usageError("token " + std::to_string(token) + " is not in the vocabulary of " +
                        std::to_string(limit));
  for (int32_t row : logitsRows)
    if (row < 0 || size_t(row) >= tokens.size())
      return usageError("row " + std::to_string(row) + " is not in a step of " +
                        std::to_string(tokens.size()) + " tokens");
  std::vector<int32_t> positions(tokens.size()), allRows(tokens.size());
  std::iota(positions.begin(), positions.end(), int32_t(position));
  std::iota(allRows.begin(), allRows.end(), 0);
  position += int64_t(tokens.size());

  mlir::Block &body = graph.getBody().front();
  Values values;
  values[body.getArgument(0)] = column(tokens);
  values[body.getArgument(1)] = column(positions);
  values[body.getArgument(2)] = column(logitsRows.empty() ? allRows : logitsRows);
  Context context;
  context.weights = weights;
  context.state = &state;
  context.rounds = rounds;
  if (observer)
    context.observe = [&](mlir::Operation *op, int64_t layer, const Tensor &value) {
      observer({observedName(op, layer), op, layer, value});
    };
  evaluate(body, values, context);
  std::shared_ptr<const Tensor> logits = values.lookup(body.getTerminator()->getOperand(0));
  values.clear(); // logits of a long step take gigabytes; so do the values before them
  return *logits;
}

Result<Tensor> oracle::interpret(layer::ModelOp model, const WeightRows &weights,
                                 std::span<const int32_t> tokens, Mode mode, const Observer &observer) {
  return Interpreter(model, weights, mode).step(tokens, {}, observer);
}
