// The largest logits of each row, found on the device.
#pragma once

#include "passes/select-kernels/PlanRecords.h"

namespace fusebox {

/// Ends `graph` with the target's kernels that find the largest logits of each row: each selection runs only
/// in steps that ask for it.
void addSelections(plan::GraphOp graph, PlanRecords &records, const TargetKernels &kernels);

} // namespace fusebox
