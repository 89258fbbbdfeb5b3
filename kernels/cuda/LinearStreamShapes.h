// What the table says of the kernels whose weights stream through shared memory; KernelTable.h declares how
// their shapes are chosen.
#pragma once

#include "kernels/cuda/KernelTable.h"

namespace fusebox::cuda {

void linearStreamGrid(const Shape &shape, unsigned multiprocessors, plan::GridDim (&grid)[3]);
unsigned linearStreamShared(const Shape &shape);
std::string linearStreamAccepts(const Shape &shape);
unsigned linearStreamBlocksShared(const Shape &shape);
unsigned linearStreamBlocksThreads(const Shape &shape);
std::string linearStreamBlocksAccept(const Shape &shape);

} // namespace fusebox::cuda
