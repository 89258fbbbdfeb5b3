// Which rows of a step a task works on.
#pragma once

#include "kernels/cpu/KernelAbi.h"
#include "kernels/cpu/numerics/Vector.h"

namespace fusebox::cpu {

/// Values of a shape's `rowExtent`: those of plan::Extent.
enum class RowExtent : int64_t { Tokens = 1, LogitsRows = 2 };

struct RowRange {
  int64_t begin, end;
};

FB_INLINE int64_t stepRows(int64_t rowExtent, const StepView *step) {
  return rowExtent == int64_t(RowExtent::LogitsRows) ? step->logitsRows : step->tokens;
}

/// Rows [tile·index, tile·(index + 1)) that the step has.
FB_INLINE RowRange tileRows(int64_t rowExtent, int64_t rowTile, const StepView *step, int64_t index) {
  const int64_t rows = stepRows(rowExtent, step);
  const int64_t begin = index * rowTile;
  const int64_t end = begin + rowTile;
  return {begin, end < rows ? end : rows};
}

} // namespace fusebox::cpu
