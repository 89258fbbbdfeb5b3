// The coarser way of the linear kernel: activations quantised to 8 bits for each block of 32, products in
// integers.
#pragma once

#include "kernels/cpu/linear/Operands.h"

namespace fusebox::cpu {

/// Two blocks at a time: 64 activations as signed bytes, each lane's four under the scale of its block.
struct ByteInput {
  v16u bytes;
  v16i offset; ///< what the weights' unsigned form adds to each lane, to be taken off
  v16f scale;
};
struct ByteWeight {
  v16u bytes; ///< unsigned: the block's integers plus an offset
  v16f scale;
};

template <DType In, DType T> struct Int8Way {
  using Input = ByteInput;
  using Weight = ByteWeight;
  static constexpr int64_t step = 2 * blockElements, stepBytes = 2 * blockSize(T).bytes;
  static constexpr bool scaled = false, minimum = hasMinimum<T>, quantises = true;
#if defined(__AVX512F__)
  static constexpr int tileRows = 3, tileColumns = 4;
#else
  static constexpr int tileRows = 1, tileColumns = 2;
#endif
  /// Weights are stored plus this: Q8_0's bytes flipped to unsigned, Q4_0's nibbles as they are.
  static constexpr uint32_t offset = T == DType::Q8_0 ? 128 : T == DType::Q4_0 ? 8 : 0;
  static constexpr int largest = T == DType::Q8_0 ? 255 : 15;

  FB_INLINE const char *block(const char *row, int64_t first) {
    return row + first / blockElements * blockSize(T).bytes;
  }
  FB_INLINE int64_t weightRowBytes(int64_t columns) { return rowBytes<T>(columns); }

  /// A quantised row: for each step 64 bytes, then its scale on 16 lanes.
  FB_INLINE int64_t quantisedRowBytes(int64_t columns) { return (columns + step - 1) / step * 128; }

  /// q = round(x · 127 / max|x|) for each block, scale max|x| / 127; sums[block] = scale · Σq. Blocks of
  /// numbers too small to divide by are zero.
  FB_INLINE void quantiseRow(const char *row, int64_t columns, char *to, float *sums) {
    store(to + quantisedRowBytes(columns) - 128, v16u(0));
    store(to + quantisedRowBytes(columns) - 64, splat(0.0f));
    for (int64_t b = 0; b < columns / blockElements; ++b) {
      const v16f low = loadLanes<In>(row + b * blockElements * bytesOf<In>);
      const v16f high = loadLanes<In>(row + (b * blockElements + lanes) * bytesOf<In>);
      const float largest = maxLanes(
          __builtin_elementwise_max(__builtin_elementwise_abs(low), __builtin_elementwise_abs(high)));
      const float inverse = largest > 1e-30f ? 127.0f / largest : 0.0f;
      const float scale = largest > 1e-30f ? largest / 127.0f : 0.0f;
      const v16i q0 = __builtin_convertvector(__builtin_elementwise_rint(low * inverse), v16i);
      const v16i q1 = __builtin_convertvector(__builtin_elementwise_rint(high * inverse), v16i);
      char *at = to + b / 2 * 128 + b % 2 * 32;
      store(at, __builtin_convertvector(q0, v16c));
      store(at + 16, __builtin_convertvector(q1, v16c));
      store(to + b / 2 * 128 + 64 + b % 2 * 32, v8f(scale));
      if constexpr (minimum)
        sums[b] = scale * sumLanes(__builtin_convertvector(q0 + q1, v16f));
    }
  }

  template <bool> FB_INLINE ByteInput loadInput(const char *row, int64_t first, int64_t) {
    const char *from = row + first / step * 128;
    const v16u bytes = load<v16u>(from);
    return {bytes, offset == 0 ? v16i(0) : -dotBytes<largest>(v16i(0), v16u(offset * 0x01010101u), bytes),
            load<v16f>(from + 64)};
  }

  /// A block's 32 integers plus offset, as bytes in order.
  FB_INLINE v8u blockBytes(const char *block) {
    if constexpr (T == DType::Q8_0)
      return load<v8u>(block + 2) ^ 0x80808080u;
    const v16b nibbles = load<v16b>(block + quantsOffset<T>);
    const v4u low = __builtin_bit_cast(v4u, nibbles & 15), high = __builtin_bit_cast(v4u, nibbles >> 4);
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
  }
  template <bool Whole> FB_INLINE ByteWeight loadWeight(const char *row, int64_t first, int64_t) {
    const char *at = block(row, first);
    ByteWeight weight = {v16u(0), splat(0.0f)};
    weight.bytes.lo = blockBytes(at);
    weight.scale.lo = v8f(blockScale(at));
    if constexpr (Whole) {
      weight.bytes.hi = blockBytes(at + blockSize(T).bytes);
      weight.scale.hi = v8f(blockScale(at + blockSize(T).bytes));
    }
    return weight;
  }

  FB_INLINE v16f accumulate(v16f acc, ByteInput x, ByteWeight w, float) {
    const v16i sum = dotBytes<largest>(x.offset, w.bytes, x.bytes);
    return fma(x.scale * w.scale, __builtin_convertvector(sum, v16f), acc);
  }
};

} // namespace fusebox::cpu
