// The compiler's passes, in the order in which they run. compiler/Pipeline.cpp composes them; fusebox-opt
// runs them by name.
#pragma once

#include "passes/select-kernels/TargetKernels.h"

#include "mlir/Pass/Pass.h"

#include <memory>
#include <vector>

namespace fusebox {

/// layer → layer: forms layer.fused regions that fused kernels of the registry compute, where `policy` allows
/// it: "certified" (by verdicts), "score", "none" or "force".
std::unique_ptr<mlir::Pass> createFusePass(const std::string &policy = "none");

/// layer → plan, value level: one plan.program for each target. With no targets, they come from the pass's
/// `targets=` option.
std::unique_ptr<mlir::Pass> createSelectKernelsPass(std::vector<TargetSpec> targets = {});

/// plan, value level → memory level.
std::unique_ptr<mlir::Pass> createPlanMemoryPass();

/// plan, memory level: places barriers.
std::unique_ptr<mlir::Pass> createSchedulePass();

/// Makes the passes known to a command line (fusebox-opt).
void registerPasses();

} // namespace fusebox
