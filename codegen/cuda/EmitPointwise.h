// Pointwise bodies as CUDA C++.
#pragma once

#include "ir/plan/PlanOps.h"

#include <string>

namespace fusebox {

/// The body as a struct `Body` for the kernel templates: `Inputs`, its arguments' element types; `result`,
/// the type of what it yields (both DType numbers); `apply`, a device function from the arguments to that
/// element. All are held as f32; a truncf is a call of roundTo. Fails with a diagnostic on an operation that
/// is no part of bodies.
mlir::FailureOr<std::string> emitPointwise(plan::PointwiseOp body);

} // namespace fusebox
