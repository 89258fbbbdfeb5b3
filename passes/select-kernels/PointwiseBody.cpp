#include "passes/select-kernels/PointwiseBody.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>
#include <numbers>

using namespace mlir;
using namespace fusebox;

namespace {

/// Operations on elements, in f32.
class ElementBuilder {
public:
  ElementBuilder(OpBuilder &builder, Location loc) : builder(builder), loc(loc), f32(builder.getF32Type()) {}

  Value widen(Value v) {
    return v.getType() == f32 ? v : arith::ExtFOp::create(builder, loc, f32, v).getResult();
  }
  Value round(Value v, Type type) {
    return type == f32 ? v : arith::TruncFOp::create(builder, loc, type, v).getResult();
  }

  /// Element of an operation's result, not rounded, from the elements of its operands, widened.
  Value compute(layer::AddOp, ValueRange v) { return add(v[0], v[1]); }
  Value compute(layer::CastOp, ValueRange v) { return v[0]; }
  Value compute(layer::ScaleOp op, ValueRange v) { return multiply(v[0], number(op.getFactor())); }
  Value compute(layer::SoftcapOp op, ValueRange v) {
    Value cap = number(op.getCap());
    return multiply(cap, math::TanhOp::create(builder, loc, divide(v[0], cap)));
  }
  Value compute(layer::GluOp op, ValueRange v) {
    Value activated = activate(op.getActivation(), v[0]);
    if (op.getRounding() == layer::GluRounding::ActivationAndProduct)
      activated = widen(round(activated, getElementTypeOrSelf(op.getType())));
    return multiply(activated, v[1]);
  }

private:
  OpBuilder &builder;
  Location loc;
  Type f32;

  Value number(double value) {
    return arith::ConstantOp::create(builder, loc, builder.getF32FloatAttr(float(value)));
  }
  Value number(const APFloat &value) { return number(value.convertToDouble()); }
  Value add(Value a, Value b) { return arith::AddFOp::create(builder, loc, a, b); }
  Value multiply(Value a, Value b) { return arith::MulFOp::create(builder, loc, a, b); }
  Value divide(Value a, Value b) { return arith::DivFOp::create(builder, loc, a, b); }

  /// The oracle's expressions (ir/interpreter/Ops.cpp), in its order.
  Value activate(layer::Activation activation, Value x) {
    Value one = number(1);
    switch (activation) {
    case layer::Activation::Silu: {
      Value power = math::ExpOp::create(builder, loc, arith::NegFOp::create(builder, loc, x));
      return divide(x, add(one, power));
    }
    case layer::Activation::Gelu: {
      Value erf = math::ErfOp::create(builder, loc, divide(x, number(std::numbers::sqrt2)));
      return multiply(multiply(number(0.5), x), add(one, erf));
    }
    case layer::Activation::GeluTanh: {
      Value cube = multiply(multiply(multiply(number(0.044715), x), x), x);
      Value slope = number(std::sqrt(2 / std::numbers::pi_v<float>));
      Value tanh = math::TanhOp::create(builder, loc, multiply(slope, add(x, cube)));
      return multiply(multiply(number(0.5), x), add(one, tanh));
    }
    }
    llvm_unreachable("no other activation");
  }
};

template <class... Ops> struct OpList {
  static bool contains(Operation *op) { return isa<Ops...>(op); }
  static Value compute(ElementBuilder &element, Operation *op, ValueRange operands) {
    return llvm::TypeSwitch<Operation *, Value>(op).template Case<Ops...>(
        [&](auto known) { return element.compute(known, operands); });
  }
};

/// The operations that are pointwise: one overload of ElementBuilder::compute each.
using PointwiseOps = OpList<layer::AddOp, layer::CastOp, layer::ScaleOp, layer::SoftcapOp, layer::GluOp>;

/// The result's element, rounded, from elements of the operands as they lie in memory; of a linear or an
/// embedding, from its sum or the table's value.
Value elementOf(OpBuilder &builder, Operation *op, ValueRange elements) {
  ElementBuilder element(builder, op->getLoc());
  SmallVector<Value, 2> wide;
  for (Value operand : elements)
    wide.push_back(element.widen(operand));
  Value result = PointwiseOps::contains(op) ? PointwiseOps::compute(element, op, wide) : wide[0];
  return element.round(result, getElementTypeOrSelf(op->getResult(0).getType()));
}

} // namespace

bool fusebox::isPointwise(Operation *op) {
  auto isElement = [](Type type) {
    Type element = getElementTypeOrSelf(type);
    return element.isBF16() || element.isF16() || element.isF32();
  };
  return PointwiseOps::contains(op) && llvm::all_of(op->getOperandTypes(), isElement) &&
         llvm::all_of(op->getResultTypes(), isElement);
}

PointwiseBody fusebox::pointwiseBody(Operation *op, Value result) {
  SmallVector<Type, 2> elements;
  if (isPointwise(op))
    for (Type type : op->getOperandTypes())
      elements.push_back(getElementTypeOrSelf(type));
  else if (isa<layer::LinearOp, layer::EmbedOp>(op))
    elements.push_back(Float32Type::get(op->getContext()));
  else
    return {};
  OpBuilder builder(op->getContext());
  PointwiseBody body = startBody(builder, isPointwise(op) ? op->getName().stripDialect() : "round", elements);
  Value element = elementOf(builder, op, body->getBody().getArguments());
  for (Value value = op->getResult(0); value != result;) {
    Operation *cast = *value.user_begin();
    element = elementOf(builder, cast, element);
    value = cast->getResult(0);
  }
  plan::YieldOp::create(builder, op->getLoc(), element);
  return body;
}

PointwiseBody fusebox::startBody(OpBuilder &builder, StringRef name, TypeRange elements) {
  Location loc = builder.getUnknownLoc();
  PointwiseBody body = plan::PointwiseOp::create(builder, loc, name);
  Block &block = body->getBody().emplaceBlock();
  for (Type type : elements)
    block.addArgument(type, loc);
  builder.setInsertionPointToStart(&block);
  return body;
}

Value fusebox::inlineBody(OpBuilder &builder, plan::PointwiseOp body, ValueRange elements) {
  IRMapping mapping;
  mapping.map(body.getBody().getArguments(), elements);
  for (Operation &op : body.getBody().front().without_terminator())
    builder.clone(op, mapping);
  return mapping.lookup(body.getYielded());
}
