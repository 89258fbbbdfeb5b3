// Bodies of kernels in arith and math operations (plan.pointwise): what a layer operation does to one
// element, and how the bodies of several operations become one. Targets that generate their pointwise kernels
// use it.
#pragma once

#include "ir/layer/LayerOps.h"
#include "ir/plan/PlanOps.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/OwningOpRef.h"

namespace fusebox {

/// A body that is in no program yet; its name says which operations it computes ("scale_add").
using PointwiseBody = mlir::OwningOpRef<plan::PointwiseOp>;

/// Whether each element of the operation's result is a function of the same elements of its operands (add,
/// scale, softcap, glu, cast), in element types that bodies know: bf16, f16, f32.
bool isPointwise(mlir::Operation *op);

/// What a kernel does for each element on its way to `result`: all of it if `op` is pointwise; if it is a
/// linear or an embedding, what follows the sum or the table's value (an f32 argument); null for other
/// operations. `result` is `op`'s own or that of casts behind it. Every rounding point of the operations is a
/// truncf.
PointwiseBody pointwiseBody(mlir::Operation *op, mlir::Value result);

/// An empty body on elements of these types, and a builder at its place.
PointwiseBody startBody(mlir::OpBuilder &builder, llvm::StringRef name, mlir::TypeRange elements);

/// Adds what `body` computes from these elements at the builder's place; the element it yields.
mlir::Value inlineBody(mlir::OpBuilder &builder, plan::PointwiseOp body, mlir::ValueRange elements);

} // namespace fusebox
