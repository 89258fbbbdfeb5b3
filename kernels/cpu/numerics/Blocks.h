// GGUF's block types as kernels read them: 32 weights of a row share an f16 scale d (and an f16 minimum m).
// Layouts after ggml-org/ggml docs/gguf.md and ggml-common.h: Q8_0 {d, 32 × int8}, Q4_0 {d, 16 bytes},
// Q4_1 {d, m, 16 bytes}; byte j of a 4-bit block holds element j low and element 16 + j high.
#pragma once

#include "kernels/cpu/numerics/Convert.h"

namespace fusebox::cpu {

inline constexpr int64_t blockElements = 32;

template <DType T> FB_INLINE constexpr int64_t rowBytes(int64_t columns) {
  return columns / blockSize(T).elements * blockSize(T).bytes;
}

template <DType T> inline constexpr bool hasMinimum = T == DType::Q4_1;
template <DType T> inline constexpr int64_t quantsOffset = T == DType::Q4_1 ? 4 : 2;

/// The block's integers (Q4_0: less 8) as exact bf16 bits, in order.
template <DType T> FB_INLINE Pairs blockPairs(const char *block) {
  if constexpr (T == DType::Q8_0)
    return pairsFromInt8(load<v32c>(block + quantsOffset<T>));
  else
    return pairsFromNibbles<T == DType::Q4_0 ? 8 : 0>(load<v16b>(block + quantsOffset<T>));
}

/// A block's scale in lane 0 and, where it has one, its minimum in lane 1; other lanes are bits of the
/// integers. One load and conversion for both.
FB_INLINE v4f blockHead(const char *block) { return __builtin_convertvector(load<v4hf>(block), v4f); }
FB_INLINE float blockScale(const char *block) { return loadOne<DType::F16>(block); }
FB_INLINE float blockMinimum(const char *block) { return loadOne<DType::F16>(block + 2); }

/// Elements [first, first + 16) of a row of any weight type, widened: plain types exactly; blocks d·q exactly
/// and Q4_1's d·q + m rounded once to f32. `first` is a multiple of 16; `count` < 16 only for plain types.
template <DType T> FB_INLINE v16f loadWeightLanes(const char *row, int64_t first, int64_t count) {
  if constexpr (!isBlockQuantised(T)) {
    return loadUpTo<T>(row + first * bytesOf<T>, count);
  } else {
    const char *block = row + first / blockElements * blockSize(T).bytes;
    const bool second = first % blockElements != 0;
    const v16f scale = splat(blockScale(block));
    if constexpr (T == DType::Q8_0) {
      const v16c q = load<v16c>(block + 2 + (second ? 16 : 0));
      return scale * __builtin_convertvector(__builtin_convertvector(q, v16i), v16f);
    } else {
      const v16b bytes = load<v16b>(block + quantsOffset<T>);
      const v16b nibbles = second ? bytes >> 4 : bytes & 15;
      const v16f q = __builtin_convertvector(__builtin_convertvector(nibbles, v16i), v16f);
      if constexpr (T == DType::Q4_1)
        return fma(scale, q, splat(blockMinimum(block)));
      else
        return scale * (q - 8.0f);
    }
  }
}

} // namespace fusebox::cpu
