// Elements of stored weights: plain types, and GGUF's blocks of 32 (definitions: ggml-org/ggml,
// src/ggml-quants.c). A block's bytes lie at 2-byte alignment.
#pragma once
#include "base.cuh"

namespace fusebox {

constexpr int dtQ4_0 = 32, dtQ4_1 = 33, dtQ8_0 = 36; ///< fusebox::DType

template <int T> constexpr int blockBytes = T == dtQ4_0 ? 18 : T == dtQ4_1 ? 20 : T == dtQ8_0 ? 34 : 0;
template <int T> constexpr bool isBlocks = blockBytes<T> != 0;

__device__ __forceinline__ u16 weightHalf(const u8 *p) { return __ldg(reinterpret_cast<const u16 *>(p)); }

/// Elements [i, i + 8) of a weight, i a multiple of 8, as f32. Block types: the products are exact, a minimum
/// is added with one rounding.
template <int T> __device__ __forceinline__ void loadWeights8(float (&w)[8], const void *base, u64 i) {
  if constexpr (T == dtF32) {
#pragma unroll
    for (int e = 0; e < 8; ++e)
      w[e] = __ldg(static_cast<const float *>(base) + i + e);
  } else if constexpr (!isBlocks<T>) {
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const u16 bits = __ldg(static_cast<const u16 *>(base) + i + e);
      w[e] = T == dtBF16 ? bf16Low(bits) : f16ToF32(bits);
    }
  } else {
    const u8 *block = static_cast<const u8 *>(base) + i / 32 * blockBytes<T>;
    const int first = int(i % 32);
    const float scale = f16ToF32(weightHalf(block));
    if constexpr (T == dtQ8_0) {
#pragma unroll
      for (int e = 0; e < 8; e += 2) {
        const u32 pair = weightHalf(block + 2 + first + e);
        w[e] = scale * float(int(static_cast<signed char>(pair & 0xff)));
        w[e + 1] = scale * float(int(static_cast<signed char>(pair >> 8)));
      }
    } else {
      // Byte j of the 16 holds element j in its low half and element j + 16 in its high half.
      const float least = T == dtQ4_1 ? f16ToF32(weightHalf(block + 2)) : 0.f;
      const u8 *bytes = block + (T == dtQ4_1 ? 4 : 2) + first % 16;
      const int shift = first < 16 ? 0 : 4;
#pragma unroll
      for (int e = 0; e < 8; e += 2) {
        const u32 pair = weightHalf(bytes + e) >> shift;
        const float low = float(int(pair & 15)), high = float(int(pair >> 8 & 15));
        w[e] = T == dtQ4_1 ? __fmaf_rn(scale, low, least) : scale * (low - 8.f);
        w[e + 1] = T == dtQ4_1 ? __fmaf_rn(scale, high, least) : scale * (high - 8.f);
      }
    }
  }
}

/// Element i of a weight as f32.
template <int T> __device__ __forceinline__ float loadWeight(const void *base, u64 i) {
  if constexpr (!isBlocks<T>) {
    return load<T>(base, i);
  } else {
    float w[8];
    loadWeights8<T>(w, base, i / 8 * 8);
    float v = w[0];
#pragma unroll
    for (int e = 1; e < 8; ++e)
      v = i % 8 == u64(e) ? w[e] : v;
    return v;
  }
}

} // namespace fusebox
