// Orders the calls of a program by dependence, before memory is planned: what may run together decides what
// is live together.
#pragma once

#include "ir/plan/PlanOps.h"

#include "llvm/ADT/DenseMap.h"

namespace fusebox {

/// Moves each call of `block` (and of loops in it) to its stage: one after the last call it depends on,
/// through a value or a KV cache. Calls of one stage are independent and keep their order; a loop is a stage
/// of its own.
void orderByStage(mlir::Block &block);

/// A moment in a program for each operation: operations of one stage share it, and it grows along the order
/// in which stages run. A loop's own moment is that before its body; its body's terminator has the last
/// moment of the loop.
using Moments = llvm::DenseMap<mlir::Operation *, unsigned>;
Moments momentsOf(plan::GraphOp graph);

} // namespace fusebox
