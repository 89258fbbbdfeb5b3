// scale: out = round(in · factor). args: out, in.
#pragma once
#include <cstdint>

struct ScaleShape {
  int64_t columns;
  int64_t type;  ///< DType: BF16 or F32
  double factor; ///< as f32
  int64_t rowExtent;
  int64_t rowTile;
};
