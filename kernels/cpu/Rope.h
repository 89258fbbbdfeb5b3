// rope: rotates pairs of each head by the token's angles. args: out, in, angles [N][rotaryDim] (cos, then
// sin).
#pragma once
#include <cstdint>

struct RopeShape {
  int64_t heads;
  int64_t headDim;
  int64_t rotaryDim;     ///< elements [rotaryDim, headDim) are copied
  int64_t interleaved;   ///< pair j is 0: (j, j + rotaryDim/2); 1: (2j, 2j + 1)
  int64_t type;          ///< DType of in and out: BF16 or F32
  int64_t anglesType;    ///< DType: BF16 or F32
  int64_t roundProducts; ///< 1: both products and their sum are rounded to `type`; 0: one rounding at the end
  int64_t rowTile;       ///< tokens a task
};
