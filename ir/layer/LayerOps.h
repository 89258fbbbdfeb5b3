// Operations of the layer dialect, and the two questions that everyone asks of them: a node's name and a
// symbol's parameter.
#pragma once

#include "ir/layer/LayerDialect.h"

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#define GET_OP_CLASSES
#include "ir/layer/LayerOps.h.inc"

namespace fusebox::layer {

/// The name of the value that `op` computes ("q", "attn_residual"), as in dumps, `--activations` and reports;
/// empty for operations that are no node (graph, repeat, fused, return) or have none.
llvm::StringRef nodeName(mlir::Operation *op);

/// The parameter that `symbol` names in the model around `op`; null if there is none. A verified model has
/// all of them.
ParamOp lookupParam(mlir::Operation *op, llvm::StringRef symbol);

/// The repeat around `op`, or null if it is outside of all layers.
RepeatOp enclosingRepeat(mlir::Operation *op);

/// Columns of a value of rows: N of tensor<?xNxT>.
inline int64_t columns(mlir::Value rows) {
  return llvm::cast<mlir::RankedTensorType>(rows.getType()).getDimSize(1);
}

} // namespace fusebox::layer
