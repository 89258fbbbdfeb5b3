// Merged kernels: one launch for several calls where no rounding point moves. What targets share of it.
#pragma once

#include "passes/select-kernels/LaunchReader.h"

namespace fusebox {

namespace cuda {
struct Chip;
}

/// Gives calls of `graph` that one kernel computes together a variant each: the last of them the merged
/// kernel, with what it needs of the others' arguments behind its own, the others an empty grid. Their own
/// variants stay, for steps of more rows and for observers, so every value keeps its place and its bits.
///
/// Merged are: pointwise calls that follow one another or products, as one generated body (a gated activation
/// behind gate and up, scales and sums behind another product, chains by themselves); an RMS norm with the
/// products that read it (q, k, v; gate, up); per-head norms, rotations and the KV write.
void mergeCudaLaunches(plan::GraphOp graph, PlanRecords &records, const cuda::Chip &chip);

/// Gives loops whose bodies, so merged, are the six launches of a decoder's layer a kernel that does all
/// layers in one launch, for steps of one token and not too long a context (decode_loop.cuh).
void mergeCudaLoops(plan::GraphOp graph, PlanRecords &records, const cuda::Chip &chip);

/// The same for CPU targets, for steps of one row. Merged are: a residual sum with the product before it, a
/// gated activation with gate and up, an RMS norm with the products that read it; per-head norms, rotations
/// and the KV write with attention.
void mergeCpuLaunches(plan::GraphOp graph, PlanRecords &records, const TargetKernels &kernels);

/// Rewrites calls into merged ones; a target says what is merged and by which kernels.
class LaunchMerger : protected LaunchReader {
public:
  virtual ~LaunchMerger() = default;

protected:
  static constexpr int64_t anyRows = UINT32_MAX;

  /// Calls that run as one for some step sizes: `covered`, then `last`, in an order in which each follows
  /// what it reads.
  struct Group {
    llvm::SmallVector<plan::CallOp, 4> covered;
    plan::CallOp last;
    std::string kernel;
    KernelConstants shape;
    mlir::FlatSymbolRefAttr body;
    llvm::SmallVector<MergedArg, 12> args;       ///< of the merged kernel
    llvm::SmallVector<mlir::Value, 2> wholeRows; ///< of them, those of which an element of the result needs
                                                 ///< whole rows
    llvm::SmallVector<int64_t, 4> rows;          ///< the step sizes to merge for, ascending
    llvm::SmallVector<LaunchNode, 3> products;   ///< of its calls, those that are products
  };

  /// What a group's last call runs for steps of at most so many rows; no kernel if it can't.
  struct Merged {
    const Group *group;
    int64_t rows;
    KernelConstants shape;
    std::optional<KernelVariant> kernel;
  };

  LaunchMerger(PlanRecords &records, unsigned maxArgs) : LaunchReader(records), maxArgs(maxArgs) {}

  /// The target's kernel for a group; argument i lies at the constant `place<i>` of its shape.
  virtual Merged mergedFor(const Group &group, int64_t rows) = 0;
  /// The variant by which a call computes its part of `merged` alone, with the same bits: what it has.
  virtual plan::VariantAttr aloneFor(plan::CallOp call, const Merged &merged);

  /// The constants of a norm in front; what is normed is the kernel's own affair.
  static void addNorm(Group &group, const LaunchNode &norm);
  /// Rewrites the calls of groups that end in the same call, for ascending step sizes; false if the kernels
  /// take none of these.
  bool apply(llvm::MutableArrayRef<Group> groups);

private:
  const unsigned maxArgs;

  void setVariants(plan::CallOp call, llvm::ArrayRef<Merged> merged);
};

} // namespace fusebox
