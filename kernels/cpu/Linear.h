// linear: out = round(in · Wᵀ + bias), W row-major [out][in] as files have it. args: out, in, weight[, bias].
//
// The sum of one output is the same whatever the variant, tile, thread or ISA:
//   bf16 · bf16   lane i of 16 takes elements 32 s + 2 i (even) and 2 i + 1 (odd), odd first, one FMA chain
//   over s; bf16 · block  a block's 32 products are summed from zero as above on exact integers, then one FMA
//   with d;
//                 Q4_1's minimum: one FMA chain over blocks of m · Σx, added to the lanes' sum;
//   any f32       both sides widened to f32; lane i takes element 16 s + i, one FMA chain over s;
// then the lanes by one tree (8, 4, 2, 1), then the bias in f32, then one rounding. Tails are padded with
// zeros.
#pragma once
#include <cstdint>

struct LinearShape {
  int64_t in, out;
  int64_t weightType;     ///< DType: BF16, F32, F16, Q8_0, Q4_0, Q4_1
  int64_t inType;         ///< DType: BF16 or F32
  int64_t outType;        ///< DType: BF16 or F32
  int64_t hasBias;        ///< 1: a fourth argument, [out]
  int64_t biasType;       ///< DType: BF16, F32 or F16
  int64_t roundBeforeF32; ///< 1: an f32 output is rounded to bf16 and widened
  int64_t rowExtent;      ///< RowExtent of the rows
  int64_t rowTile;        ///< rows a task; 1 selects the vector variant
  int64_t colTile;        ///< columns a task, a multiple of 8 (vector) or 12 (matrix)
};
