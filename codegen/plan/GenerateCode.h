// The codegen phase: machine code for the kernels of each program, kept in the IR.
#pragma once

#include "mlir/Pass/Pass.h"

#include <memory>

namespace fusebox {

/// plan, memory level: compiles each program's kernels for its target; CPU kernels get an `entry` into a
/// plan.image, CUDA kernels a plan.gpu_module.
std::unique_ptr<mlir::Pass> createGenerateCodePass();

} // namespace fusebox
