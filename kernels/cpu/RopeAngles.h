// rope_angles: the cosines and sines of every token's position. args: out [N][2·half] (cos, then sin),
// invFreq (constant f32 [half]).
#pragma once
#include <cstdint>

struct RopeAnglesShape {
  int64_t half;           ///< rotaryDim / 2
  int64_t outType;        ///< DType: BF16 or F32
  double attentionFactor; ///< YaRN and the like; multiplies both, in f32
  int64_t rowTile;        ///< tokens a task
};
