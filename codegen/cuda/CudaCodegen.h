// GPU code for the kernels of a program: each kernel's CUDA C++ and its cubin, kept in the IR as a
// plan.gpu_module.
#pragma once

#include "ir/plan/PlanOps.h"
#include "runtime/cuda/CubinCache.h"
#include "runtime/plan/Program.h"

#include "llvm/ADT/SmallVector.h"

#include <vector>

namespace fusebox {

/// The kernels of `target` and the CUDA C++ of each, in the same order. Fails with a diagnostic on a kernel
/// that can't be emitted. Needs no NVRTC.
mlir::LogicalResult cudaSources(plan::ProgramOp program, plan::TargetOp target,
                                llvm::SmallVectorImpl<plan::KernelOp> &kernels,
                                std::vector<cuda::KernelText> &texts);

/// plan, memory level: compiles the kernels of `target` (cached by content) and gives each its module. Fails
/// with a diagnostic if NVRTC is missing or a kernel does not compile.
mlir::LogicalResult generateCudaCode(plan::ProgramOp program, plan::TargetOp target);

/// The product that a kernel computes, for libraries that may do it instead; none for other kernels, and for
/// products with more behind their sums than a rounding.
plan::Product productOf(plan::KernelOp kernel);

} // namespace fusebox
