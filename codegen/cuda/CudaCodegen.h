// GPU code for the kernels of a program: each kernel's CUDA C++ and its cubin, kept in the IR as a
// plan.gpu_module.
#pragma once

#include "ir/plan/PlanOps.h"

namespace fusebox {

/// plan, memory level: compiles the kernels of `target` (cached by content) and gives each its module. Fails
/// with a diagnostic if NVRTC is missing or a kernel does not compile.
mlir::LogicalResult generateCudaCode(plan::ProgramOp program, plan::TargetOp target);

} // namespace fusebox
