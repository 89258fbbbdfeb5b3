// Which CUDA kernels compute a kernel of the plan ("linear", "attention", ...), by rows of a step: the
// compiler's view of the table in KernelTable.h.
#pragma once

#include "kernels/cuda/KernelTable.h"

namespace fusebox::cuda {

/// One way to run a kernel, for at most maxRows rows, and steps whose tokens see at least minKeys keys, all
/// together.
struct KernelVariant {
  KernelRequest request;
  uint32_t maxRows = UINT32_MAX, minKeys = 0;
  plan::GridDim grid[3];
  uint32_t sharedBytes = 0, blockThreads = 0;
};

/// The ways to run `kernel` on rows of `rows`, ascending in maxRows, the last for any number. Symbols,
/// constants and arguments are those of the CPU kernels (kernels/cpu). Fails with ErrorKind::Model, naming
/// the kernel and the constant, if no CUDA kernel computes this. Requests have no body yet, also those of
/// kernels that take one.
Result<std::vector<KernelVariant>> kernelVariants(const std::string &kernel, const Shape &constants,
                                                  plan::Extent rows, const Chip &chip);

/// How the `count` largest logits of a row are found: by two kernels, the first of which leaves `groupBytes`
/// for each row, the second `resultBytes` (plan::SelectedRow).
struct SelectionKernels {
  uint32_t count = 0;
  KernelVariant groups, largest;
  uint32_t groupBytes = 0, resultBytes = 0;
};

/// The selections for logits of a vocabulary: the largest alone, and the largest 256; none for a vocabulary
/// that the kernels don't take.
std::vector<SelectionKernels> selectionKernels(uint32_t vocabulary, const Chip &chip);

/// A request of the table as a variant: its grid and its block. Fails with ErrorKind::Model if the kernel
/// does not take the shape.
Result<KernelVariant> makeVariant(KernelRequest request, uint32_t maxRows, const Chip &chip);

} // namespace fusebox::cuda
