// Evaluation of regions of layer IR: the oracle's heart, and the way to run one operation or part of a body
// on chosen inputs with chosen roundings (analysis, tests of kernels).
#pragma once

#include "ir/interpreter/Tensor.h"
#include "ir/interpreter/Weights.h"

#include "llvm/ADT/DenseMap.h"

#include <functional>
#include <map>
#include <memory>

namespace fusebox::oracle {

/// Keys and values of one sequence, by layer; attention appends to them and reads them.
struct KvState {
  struct Layer {
    Tensor k, v;
  };
  std::map<int64_t, Layer> layers;
};

/// What evaluation needs beside values.
struct Context {
  WeightRows weights;
  int64_t layer = -1; ///< the current layer; −1 outside of all
  /// Whether an operation rounds, at its end and inside; not set: none does.
  std::function<bool(mlir::Operation *)> rounds;
  /// Sees every node's value once it is there.
  std::function<void(mlir::Operation *, int64_t layer, const Tensor &)> observe;
  /// Without it, attention sees the given keys and values alone.
  KvState *state = nullptr;
};

/// Values of IR values. Sharing keeps a repeat's copies cheap.
using Values = llvm::DenseMap<mlir::Value, std::shared_ptr<const Tensor>>;

/// Evaluates the operations of `block` in order, adding their results to `values`. Operations whose results
/// are there already, or whose operands are not, are passed over: give any cut through the body, and what
/// follows from it is computed. A `layer.fused` region of contract wide rounds at its end only; one of exact
/// as its operations say.
void evaluate(mlir::Block &block, Values &values, const Context &context);

/// The value of one node operation on `operands`, in the order of the operation's own.
Tensor evaluate(mlir::Operation *op, llvm::ArrayRef<const Tensor *> operands, const Context &context);

} // namespace fusebox::oracle
