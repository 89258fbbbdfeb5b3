// What a target's kernel table says about one kernel, in the terms select-kernels needs.
#pragma once

#include "ir/plan/PlanOps.h"
#include "passes/select-kernels/KernelPattern.h"
#include "runtime/plan/Program.h"
#include "support/Result.h"

#include <memory>
#include <string_view>

namespace fusebox {

/// A machine to compile for.
struct TargetSpec {
  plan::DeviceKind kind = plan::DeviceKind::Cpu;
  std::string label;            ///< what the target is called: "x86-64-v4+avx512bf16", "sm_90a"
  std::string machine;          ///< "x86-64-v4", "sm_90a"
  std::string features;         ///< CPU: comma-separated, e.g. "+avx512bf16,+avx512vnni"
  bool activationsInt8 = false; ///< take kernels that quantise activations, where there are some

  /// Reads "cpu:x86-64-v4", "cpu:x86-64-v4+avx512bf16" (features after each +) or "cuda:sm_90a".
  static Result<TargetSpec> parse(std::string_view text);
  /// "cpu:x86-64-v4+avx512bf16": the name of the target's program, which --target takes, too.
  std::string name() const { return (kind == plan::DeviceKind::Cpu ? "cpu:" : "cuda:") + label; }
};

/// One way to run a kernel: for at most `maxRows` rows, and steps whose tokens see at least `minKeys` keys.
struct KernelVariant {
  std::string kernel; ///< template, e.g. "linear_gemv"
  KernelShape shape;  ///< with what the target adds, e.g. tile sizes
  int64_t maxRows = UINT32_MAX, minKeys = 0;
  llvm::SmallVector<plan::DimAttr, 3> grid;
  int64_t scratchBytes = 0, blockThreads = 0;
  mlir::FlatSymbolRefAttr body; ///< plan.pointwise that a generated kernel computes, if it takes one
  llvm::SmallVector<mlir::Attribute, 6> parts = {}; ///< plan.kernels whose work it does, if it has such
};

/// A table's grid as attributes; axes of one block at the end are left out.
llvm::SmallVector<plan::DimAttr, 3> gridAttrs(mlir::MLIRContext *context, llvm::ArrayRef<plan::GridDim> grid);

/// How the `count` largest logits of a row are found: kernels in a chain, each of which takes the results of
/// those before it, the latest first, and then the logits; with the bytes each leaves for a row. The last
/// leaves a plan::SelectedRow.
struct SelectionKernels {
  int64_t count = 1;
  llvm::SmallVector<std::pair<KernelVariant, int64_t>, 2> chain;
};

/// A target's kernels.
class TargetKernels {
public:
  virtual ~TargetKernels() = default;
  /// Whether pointwise work is generated: its operations run as kernel "pointwise", and it and products have
  /// bodies.
  virtual bool generatesPointwise() const { return false; }
  /// Ways to run `kernel` on rows of `extent`, ascending in maxRows, the last for any number. Fails with
  /// ErrorKind::Model if the target has no such kernel for these constants; the message says which.
  virtual Result<llvm::SmallVector<KernelVariant, 2>> variants(mlir::MLIRContext *context,
                                                               const std::string &kernel,
                                                               const KernelShape &shape,
                                                               plan::RowExtent extent) const = 0;
  /// Ways to find the largest logits of a row of that many; none where the host does it.
  virtual llvm::SmallVector<SelectionKernels, 2> selections(mlir::MLIRContext *,
                                                            int64_t /*vocabulary*/) const {
    return {};
  }
};

/// The table of a target's kind.
std::unique_ptr<TargetKernels> targetKernels(const TargetSpec &target);

} // namespace fusebox
