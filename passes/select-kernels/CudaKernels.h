// The CUDA kernel table in the terms of select-kernels.
#pragma once

#include "kernels/cuda/Variants.h"
#include "passes/select-kernels/TargetKernels.h"

namespace fusebox {

/// A variant of the table as select-kernels records it.
KernelVariant toKernelVariant(mlir::MLIRContext *context, const cuda::KernelVariant &entry);

std::unique_ptr<TargetKernels> cudaKernels(const TargetSpec &target);

} // namespace fusebox
