#include "ir/interpreter/Evaluate.h"

#include "ir/interpreter/Ops.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace fusebox;
using namespace fusebox::oracle;

namespace {

bool rounds(mlir::Operation *op, const Context &context) { return context.rounds && context.rounds(op); }

/// Appends rows to what the sequence has.
void append(Tensor &to, const Tensor &rows) {
  to.columns = rows.columns;
  to.rows += rows.rows;
  to.values.insert(to.values.end(), rows.values.begin(), rows.values.end());
}

Tensor attend(layer::AttentionOp op, llvm::ArrayRef<const Tensor *> operands, const Context &context,
              Rounding r) {
  if (!context.state)
    return attention(op, *operands[0], *operands[1], *operands[2], r);
  KvState::Layer &seen = context.state->layers[context.layer];
  append(seen.k, *operands[1]);
  append(seen.v, *operands[2]);
  return attention(op, *operands[0], seen.k, seen.v, r);
}

void evaluateRepeat(layer::RepeatOp op, Values &values, const Context &context) {
  mlir::Block &body = op.getBody().front();
  std::shared_ptr<const Tensor> hidden = values.lookup(op.getInitial());
  Context inner = context;
  for (int64_t i = 0; i < int64_t(op.getCount()); ++i) {
    inner.layer = int64_t(op.getFirst()) + i;
    Values layerValues = values;
    layerValues[body.getArgument(0)] = hidden;
    evaluate(body, layerValues, inner);
    hidden = layerValues.lookup(body.getTerminator()->getOperand(0));
  }
  values[op.getResult()] = hidden;
}

void evaluateFused(layer::FusedOp op, Values &values, const Context &context) {
  mlir::Block &body = op.getBody().front();
  Context inner = context;
  bool wide = op.getContract() == layer::Contract::Wide;
  if (wide)
    inner.rounds = nullptr;
  Values innerValues;
  for (auto [argument, input] : llvm::zip_equal(body.getArguments(), op.getInputs()))
    innerValues[argument] = values.lookup(input);
  evaluate(body, innerValues, inner);
  for (auto [result, value] : llvm::zip_equal(op.getResults(), body.getTerminator()->getOperands())) {
    std::shared_ptr<const Tensor> tensor = innerValues.lookup(value);
    if (wide && rounds(op, context))
      tensor = std::make_shared<Tensor>(cast(*tensor, roundingOf(result.getType())));
    values[result] = tensor;
  }
}

} // namespace

Tensor oracle::evaluate(mlir::Operation *op, llvm::ArrayRef<const Tensor *> operands,
                        const Context &context) {
  Rounding r = rounds(op, context) ? roundingOf(op->getResult(0).getType()) : Rounding::None;
  const WeightRows &weights = context.weights;
  int64_t layer = context.layer;
  return llvm::TypeSwitch<mlir::Operation *, Tensor>(op)
      .Case([&](layer::EmbedOp op) { return embed(op, *operands[0], weights, layer, r); })
      .Case([&](layer::SelectRowsOp op) { return selectRows(*operands[0], *operands[1]); })
      .Case([&](layer::NormOp op) { return norm(op, *operands[0], weights, layer, r); })
      .Case([&](layer::LinearOp op) { return linear(op, *operands[0], weights, layer, r); })
      .Case([&](layer::RopeAnglesOp op) { return ropeAngles(op, *operands[0], r); })
      .Case([&](layer::RopeOp op) { return rope(op, *operands[0], *operands[1], r); })
      .Case([&](layer::AttentionOp op) { return attend(op, operands, context, r); })
      .Case([&](layer::GluOp op) { return glu(op, *operands[0], *operands[1], r); })
      .Case([&](layer::AddOp op) { return add(*operands[0], *operands[1], r); })
      .Case([&](layer::ScaleOp op) { return scale(*operands[0], op.getFactor().convertToDouble(), r); })
      .Case([&](layer::SoftcapOp op) { return softcap(*operands[0], op.getCap().convertToDouble(), r); })
      .Case([&](layer::CastOp op) { return cast(*operands[0], r); });
}

void oracle::evaluate(mlir::Block &block, Values &values, const Context &context) {
  for (mlir::Operation &op : block.without_terminator()) {
    auto given = [&](mlir::Value value) { return values.contains(value); };
    if (llvm::all_of(op.getResults(), given) || !llvm::all_of(op.getOperands(), given))
      continue;
    if (auto repeat = llvm::dyn_cast<layer::RepeatOp>(op)) {
      evaluateRepeat(repeat, values, context);
    } else if (auto fused = llvm::dyn_cast<layer::FusedOp>(op)) {
      evaluateFused(fused, values, context);
    } else {
      llvm::SmallVector<const Tensor *> operands;
      for (mlir::Value operand : op.getOperands())
        operands.push_back(values.lookup(operand).get());
      auto result = std::make_shared<const Tensor>(evaluate(&op, operands, context));
      values[op.getResult(0)] = result;
      if (context.observe)
        context.observe(&op, context.layer, *result);
    }
  }
}
