// What the table says of decode_loop; KernelTable.h declares how its shape is chosen.
#pragma once

#include "kernels/cuda/KernelTable.h"

namespace fusebox::cuda {

void decodeLoopGrid(const Shape &shape, unsigned multiprocessors, plan::GridDim (&grid)[3]);
unsigned decodeLoopShared(const Shape &shape);

} // namespace fusebox::cuda
