// cast: out = in, in another type: exact when widening, rounded once when narrowing. args: out, in.
#pragma once
#include <cstdint>

struct CastShape {
  int64_t columns;
  int64_t inType, outType; ///< DType: BF16 or F32
  int64_t rowExtent;
  int64_t rowTile;
};
