#include "codegen/cuda/EmitPointwise.h"

#include "support/DType.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace fusebox;

namespace {

int typeNumber(Type type) {
  return int(type.isBF16() ? DType::BF16 : type.isF16() ? DType::F16 : DType::F32);
}

class BodyEmitter {
public:
  explicit BodyEmitter(std::string &text) : out(text) {}

  LogicalResult run(plan::PointwiseOp body) {
    Block &block = body.getBody().front();
    out << "struct Body {\n  using Inputs = fusebox::Types<";
    llvm::interleaveComma(block.getArgumentTypes(), out, [&](Type type) { out << typeNumber(type); });
    out << ">;\n  static constexpr int result = " << typeNumber(body.getYielded().getType())
        << ";\n  static __device__ __forceinline__ float apply(const float *in) {\n";
    for (BlockArgument argument : block.getArguments())
      define(argument) << "in[" << argument.getArgNumber() << "];\n";
    for (Operation &op : block.without_terminator())
      if (failed(emit(&op)))
        return op.emitOpError(
            "is no part of a pointwise body: arith and math operations on f32 are, and roundings");
    out << "    return " << nameOf(body.getYielded()) << ";\n  }\n};\n";
    return success();
  }

private:
  llvm::raw_string_ostream out;
  llvm::DenseMap<Value, unsigned> names;
  unsigned next = 0;

  std::string nameOf(Value value) const { return "v" + std::to_string(names.lookup(value)); }
  llvm::raw_ostream &define(Value value) {
    names[value] = next++;
    return out << "    const float " << nameOf(value) << " = ";
  }

  /// One operation: `f(operands)`. Functions round to nearest, and none is contracted with another.
  LogicalResult emit(Operation *op) {
    if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
      auto value = dyn_cast<FloatAttr>(constant.getValue());
      if (!value || !value.getType().isF32() || !value.getValue().isFinite())
        return failure();
      define(constant) << llvm::format("%af", value.getValueAsDouble()) << ";\n";
      return success();
    }
    if (auto round = dyn_cast<arith::TruncFOp>(op)) {
      std::string function = "fusebox::roundTo<" + std::to_string(typeNumber(round.getType())) + ">";
      return call(op, function);
    }
    if (isa<arith::ExtFOp>(op)) { // exact, and every element is held as f32
      names[op->getResult(0)] = names.lookup(op->getOperand(0));
      return success();
    }
    if (!llvm::all_of(op->getOperandTypes(), [](Type type) { return type.isF32(); }))
      return failure();
    StringRef function = llvm::TypeSwitch<Operation *, StringRef>(op)
                             .Case([](arith::AddFOp) { return "__fadd_rn"; })
                             .Case([](arith::SubFOp) { return "__fsub_rn"; })
                             .Case([](arith::MulFOp) { return "__fmul_rn"; })
                             .Case([](arith::DivFOp) { return "__fdiv_rn"; })
                             .Case([](arith::NegFOp) { return "-"; })
                             .Case([](math::ExpOp) { return "expf"; })
                             .Case([](math::TanhOp) { return "tanhf"; })
                             .Case([](math::ErfOp) { return "erff"; })
                             .Default([](Operation *) { return ""; });
    return function.empty() ? failure() : call(op, function);
  }

  LogicalResult call(Operation *op, StringRef function) {
    std::string operands;
    for (Value operand : op->getOperands())
      operands += (operands.empty() ? "" : ", ") + nameOf(operand);
    define(op->getResult(0)) << function << "(" << operands << ");\n";
    return success();
  }
};

} // namespace

FailureOr<std::string> fusebox::emitPointwise(plan::PointwiseOp body) {
  std::string text;
  if (failed(BodyEmitter(text).run(body)))
    return failure();
  return text;
}
