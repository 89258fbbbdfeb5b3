// GGUF's blocks of 32 weights in shared memory as operands of tensor cores: the whole numbers of a block are
// exact in bf16, its scale and minimum are applied to the product.
#pragma once
#include "tiles.cuh"
#include "weights.cuh"

namespace fusebox {

/// Whether a block's weights are scale * number + minimum.
template <int T> constexpr bool hasMinimum = T == dtQ4_1;

constexpr u32 bf16Ones = 0x3f803f80u; ///< a pair

__device__ __forceinline__ float sharedHalf(u32 address) {
  u16 bits;
  asm volatile("ld.shared.u16 %0, [%1];" : "=h"(bits) : "r"(address) : "memory");
  return f16ToF32(bits);
}

/// a + b of bf16 pairs whose sums are exact.
__device__ __forceinline__ u32 addPairs(u32 a, u32 b) {
  u32 sum;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(sum) : "r"(a), "r"(bf16Ones), "r"(b));
  return sum;
}

/// Bytes 2i and 2i+1 of a word, each in 16 bits.
__device__ __forceinline__ u32 bytePair(u32 word, int i) { return __byte_perm(word, 0, i ? 0x4342 : 0x4140); }

/// 8 bytes of shared memory at an even address.
__device__ __forceinline__ uint2 evenBytes(u32 address) {
  const u32 from = address & ~3u, shift = (address & 2) * 8;
  const u32 a = loadSharedWord(from), b = loadSharedWord(from + 4), c = loadSharedWord(from + 8);
  return {__funnelshift_r(a, b, shift), __funnelshift_r(b, c, shift)};
}

/// Numbers 8t to 8t + 7 of the block at `block` (32 signed bytes, or 32 of 4 bits), as bf16. A byte b of 7
/// bits under the exponent of 128 reads as 128 + b.
template <int T> __device__ __forceinline__ uint4 blockNumbers(u32 block, int t) {
  u32 numbers[4];
  if constexpr (T == dtQ8_0) {
    const uint2 bytes = evenBytes(block + 2 + t * 8);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const u32 pair = bytePair(i < 2 ? bytes.x : bytes.y, i & 1);
      // A set sign bit takes away 256, else 128.
      numbers[i] = addPairs((pair & 0x007f007fu) | 0x43004300u, (pair & 0x00800080u) | 0xc300c300u);
    }
  } else {
    const u32 from = block + (T == dtQ4_1 ? 4 : 2) + (t & 1) * 8;
    const uint2 bytes = T == dtQ4_1 ? uint2{loadSharedWord(from), loadSharedWord(from + 4)} : evenBytes(from);
    const u32 shift = t < 2 ? 0 : 4;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const u32 pair = bytePair((i < 2 ? bytes.x : bytes.y) >> shift & 0x0f0f0f0fu, i & 1) | 0x43004300u;
      numbers[i] = addPairs(pair, T == dtQ4_1 ? 0xc300c300u : 0xc308c308u); // Q4_0: less 8
    }
  }
  return {numbers[0], numbers[1], numbers[2], numbers[3]};
}

} // namespace fusebox
