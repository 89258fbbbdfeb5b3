// Merged CUDA kernels: one launch for several calls where no rounding point moves.
#pragma once

#include "kernels/cuda/KernelTable.h"
#include "passes/select-kernels/PlanRecords.h"

namespace fusebox {

/// Gives calls of `graph` that one kernel computes together a variant each: the last of them the merged
/// kernel, with what it needs of the others' arguments behind its own, the others an empty grid. Their own
/// variants stay, for steps of more rows and for observers, so every value keeps its place and its bits.
///
/// Merged are: pointwise calls that follow one another or products, as one generated body (a gated activation
/// behind gate and up, scales and sums behind another product, chains by themselves); an RMS norm with the
/// products that read it (q, k, v; gate, up); per-head norms, rotations and the KV write.
void mergeLaunches(plan::GraphOp graph, PlanRecords &records, const cuda::Chip &chip);

} // namespace fusebox
