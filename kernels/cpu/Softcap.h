// softcap: out = round(cap · tanh(in / cap)). args: out, in.
#pragma once
#include <cstdint>

struct SoftcapShape {
  int64_t columns;
  int64_t type; ///< DType: BF16 or F32
  double cap;   ///< as f32
  int64_t rowExtent;
  int64_t rowTile;
};
