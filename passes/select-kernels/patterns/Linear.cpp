// linear: x W^T + b, and with it a widening cast of its result (logits: rounded as the model says, kept as
// f32).
#include "passes/select-kernels/KernelPattern.h"

using namespace fusebox;

/// The cast to f32 that is the only reader of a bf16 or f32 linear's result, or null.
static layer::CastOp castToF32(layer::LinearOp linear) {
  if (!linear.getResult().hasOneUse())
    return {};
  auto cast = llvm::dyn_cast<layer::CastOp>(*linear->user_begin());
  int64_t from = typeNumber(linear.getResult());
  bool merges = cast && typeNumber(cast.getResult()) == int64_t(DType::F32) &&
                (from == int64_t(DType::BF16) || from == int64_t(DType::F32));
  return merges ? cast : layer::CastOp();
}

static std::optional<llvm::SmallVector<KernelRequest, 2>> match(mlir::Operation *op,
                                                                const MatchContext &context) {
  auto linear = llvm::cast<layer::LinearOp>(op);
  layer::CastOp cast = castToF32(linear);
  mlir::Value result = cast ? cast.getResult() : linear.getResult();
  bool hasBias = linear.getBias().has_value();
  KernelShape shape = {
      {"in", layer::columns(linear.getInput())},
      {"out", layer::columns(result)},
      {"weightType", int64_t(context.weightType(linear.getWeight()))},
      {"inType", typeNumber(linear.getInput())},
      {"outType", typeNumber(result)},
      {"hasBias", int64_t(hasBias)},
      {"biasType", hasBias ? int64_t(context.weightType(*linear.getBias())) : int64_t(DType::BF16)},
      {"roundBeforeF32", int64_t(cast && typeNumber(linear.getResult()) == int64_t(DType::BF16))}};
  KernelRequest request = {"linear",
                           shape,
                           {KernelArg::result(result), KernelArg::operand(linear.getInput()),
                            KernelArg::weight(linear.getWeight())}};
  if (hasBias)
    request.args.push_back(KernelArg::weight(*linear.getBias()));
  return {{std::move(request)}};
}

namespace fusebox {
extern const KernelPattern linearPattern = {"linear", "layer.linear", layer::Contract::Exact, match};
}
