// What merging reads in a plan.graph: calls with their kernels and arguments, and trees of pointwise calls.
#pragma once

#include "passes/select-kernels/PlanRecords.h"

#include "llvm/ADT/DenseSet.h"

#include <map>

namespace fusebox {

/// A kernel's constants by name, integers and reals.
using KernelConstants = std::map<std::string, double>;

/// A call with what its kernel for any number of rows is.
struct LaunchNode {
  mutable plan::CallOp call; ///< a handle: reading through it is no change
  llvm::StringRef kernel;
  KernelConstants shape;
  mlir::FlatSymbolRefAttr body; ///< of the kernel, if it takes one

  explicit operator bool() const { return bool(call); }
  /// A constant; one that the kernel has not is 0.
  int64_t operator[](const char *name) const { return int64_t(real(name)); }
  double real(const char *name) const {
    auto found = shape.find(name);
    return found == shape.end() ? 0 : found->second;
  }
  bool isPointwise() const { return kernel == "pointwise"; }
};

/// A pointwise call with the calls that it alone needs: pointwise ones, and products.
struct PointwiseTree {
  LaunchNode root;
  llvm::SmallVector<plan::CallOp, 4> covered; ///< all but the root, each after what it reads
  llvm::SmallVector<LaunchNode, 3> products;  ///< of them, those whose sums the tree begins with
  llvm::SmallVector<mlir::Value, 4> inputs;   ///< what else it reads
};

/// The calls before a KV write: (per-head norm ->) rotation of q and of k.
struct HeadCalls {
  LaunchNode turnQ, turnK;
  LaunchNode normQ, normK;                    ///< none, or norms alike
  mlir::Value q, k, angles;                   ///< what the first of them read
  llvm::SmallVector<plan::CallOp, 4> covered; ///< all of them, each after what it reads
};

class LaunchReader {
public:
  explicit LaunchReader(PlanRecords &records)
      : records(records), context(records.getProgram().getContext()) {}

protected:
  PlanRecords &records;
  mlir::MLIRContext *context;
  llvm::DenseSet<mlir::Operation *> taken; ///< calls that are merged already

  plan::KernelOp kernelOf(plan::VariantAttr variant);
  static KernelConstants shapeOf(plan::KernelOp kernel);
  /// The call that `op` is or that computes `value`, unless it is merged already.
  LaunchNode nodeOf(mlir::Operation *op);
  LaunchNode nodeOf(mlir::Value value) { return nodeOf(value.getDefiningOp()); }
  /// The call that alone reads the node's result, if both are computed for the same rows.
  LaunchNode onlyUser(const LaunchNode &node);

  /// The last of the pointwise calls that follow one another from `node` on.
  LaunchNode rootOf(LaunchNode node);
  /// `root` with the pointwise calls it alone needs, and the products among these calls' operands that
  /// `takes` accepts.
  PointwiseTree treeOf(const LaunchNode &root, llvm::function_ref<bool(const LaunchNode &)> takes);
  /// The tree as one body: of the products' sums, then of the inputs.
  mlir::FlatSymbolRefAttr bodyOf(const PointwiseTree &tree);

  /// What prepares the heads of a KV write, where q and k are rotated alike.
  std::optional<HeadCalls> headsOf(const LaunchNode &write);

  /// An argument of a merged kernel: a value that some call of the group reads or writes, or a record; or
  /// neither, where the kernel takes one that this group has not.
  struct MergedArg {
    mlir::Value value = {};
    mlir::FlatSymbolRefAttr symbol = {};
    bool written = false; ///< a cache that the merged kernel writes
  };

  static MergedArg symbolOf(plan::CallOp call, unsigned arg);
  /// Where `wanted` is among the arguments `args` and `operands` of `call`: its own, or appended now.
  unsigned placeOf(plan::CallOp call, llvm::SmallVectorImpl<mlir::Attribute> &args,
                   llvm::SmallVectorImpl<mlir::Value> &operands, const MergedArg &wanted);

private:
  LaunchNode headNorm(const LaunchNode &turn);
  using Elements = llvm::DenseMap<mlir::Value, mlir::Value>;
  void grow(PointwiseTree &tree, const LaunchNode &node, llvm::function_ref<bool(const LaunchNode &)> takes);
  plan::PointwiseOp bodyOf(const LaunchNode &node);
  mlir::Value inlineNode(mlir::OpBuilder &builder, const LaunchNode &node, const Elements &elements);
};

} // namespace fusebox
