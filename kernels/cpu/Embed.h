// embed: rows of the embedding table of the step's tokens. args: out, table.
#pragma once
#include <cstdint>

struct EmbedShape {
  int64_t columns;
  int64_t tableType; ///< DType: BF16, F32, F16, Q8_0, Q4_0, Q4_1
  int64_t outType;   ///< DType: BF16 or F32
  double scale;      ///< f32 factor; the product is rounded once to outType
  int64_t rowTile;   ///< tokens a task
};
