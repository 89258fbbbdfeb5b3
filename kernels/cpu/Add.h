// add: out = round(a + b), the residual sum. args: out, a, b.
#pragma once
#include <cstdint>

struct AddShape {
  int64_t columns;
  int64_t type; ///< DType: BF16 or F32
  int64_t rowExtent;
  int64_t rowTile;
};
