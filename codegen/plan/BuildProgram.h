// The plan dialect as the records of a plan file: one plan.program, scheduled and compiled, to one
// plan::Program.
#pragma once

#include "ir/plan/PlanOps.h"
#include "runtime/plan/Program.h"

namespace fusebox {

/// Fills a Program from `program`, record by record. Weight files get their path and nothing else: size and
/// hash belong to the file itself. Fails with a diagnostic on a program that is not at the memory level, on a
/// recipe step that no runtime knows, or on kernels without code.
mlir::FailureOr<plan::Program> buildProgram(plan::ProgramOp program);

} // namespace fusebox
