// glu: out = round(act(gate) · up). args: out, gate, up.
#pragma once
#include <cstdint>

struct GluShape {
  int64_t columns;
  int64_t activation;      ///< 0 silu, 1 gelu (erf), 2 gelu (tanh)
  int64_t type;            ///< DType: BF16 or F32
  int64_t roundActivation; ///< 1: act(gate) is rounded to `type` before the product
  int64_t rowExtent;
  int64_t rowTile;
};
