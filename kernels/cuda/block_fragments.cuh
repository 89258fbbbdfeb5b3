// GGUF's blocks of 32 weights in shared memory as operands of tensor cores: the whole numbers of a block, in
// part with an offset, are exact in bf16; its scale and minimum are applied to the product.
#pragma once
#include "tiles.cuh"
#include "weights.cuh"

namespace fusebox {

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

/// (a & mask) | bits in one instruction; constant masks and bits alone would take two.
__device__ __forceinline__ u32 maskedOr(u32 a, u32 mask, u32 bits) {
  u32 d;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(d) : "r"(a), "r"(mask), "r"(bits));
  return d;
}

/// Whether the words that lanes read of a block in an even place begin with its third byte, so that they are
/// whole words of memory; its first two bytes, behind the scale, come last.
template <int T> __device__ __forceinline__ bool blockShifted(int place) {
  return T != dtQ4_1 && place % 2 == 0;
}

/// The pair of a chunk (0 to 15) that belongs to bytes 2 i and 2 i + 1 of a block so rotated: in low halves
/// of bytes or the first 16 bytes, and in high halves or the others.
template <int T> __device__ __forceinline__ int firstPair(int i) { return T == dtQ8_0 ? i & 15 : i & 7; }
template <int T> __device__ __forceinline__ int secondPair(int i) {
  return T == dtQ8_0 ? (i + 8) & 15 : (i & 7) + 8;
}

/// Lane t's part of 32 elements of x as B of two mma, in the order in which blockNumbers gives numbers of the
/// block in `place`; pair(i) is pair i of the elements (bf16).
template <int T, class Pair> __device__ __forceinline__ uint4 inputFragment(int t, int place, Pair pair) {
  const int at = 2 * t + (blockShifted<T>(place) ? 1 : 0);
  u32 low[2], high[2];
#pragma unroll
  for (int i = 0; i < 2; ++i)
    low[i] = pair(firstPair<T>(at + i)), high[i] = pair(secondPair<T>(at + i));
  return {__byte_perm(low[0], low[1], 0x5410), __byte_perm(high[0], high[1], 0x5410),
          __byte_perm(low[0], low[1], 0x7632), __byte_perm(high[0], high[1], 0x7632)};
}

/// The sums of the columns 2 t and 2 t + 1 of B.
__device__ __forceinline__ float2 columnSums(const uint4 &b) {
  float d[4] = {};
  mma(d, bf16Ones, bf16Ones, bf16Ones, bf16Ones, b.x, b.y);
  mma(d, bf16Ones, bf16Ones, bf16Ones, bf16Ones, b.z, b.w);
  return {d[0], d[1]};
}

/// What blockNumbers adds to each number of 4 bits (of Q4_0, less 8).
template <int T> constexpr float numberOffset = T == dtQ8_0 ? 0.f : T == dtQ4_0 ? 24.f : 16.f;

/// Lane t's numbers of the block in `place`, as bf16 pairs in the order of the chunk's pairs firstPair,
/// secondPair: of their first elements, then of their second.
template <int T> __device__ __forceinline__ uint4 blockNumbers(u32 block, int t, int place) {
  const bool shifted = blockShifted<T>(place);
  const u32 from = block + (T == dtQ4_1 || shifted ? 4 : 2) + 4 * t;
  u32 last = loadSharedWord(from + (T == dtQ8_0 ? 16 : 0));
  if (shifted)
    last = __byte_perm(last, loadSharedWord(block), t == 3 ? 0x7610 : 0x3210);
  if constexpr (T == dtQ8_0) {
    // A byte's low 7 bits under the exponent of 128 read as 128 + b; a set sign bit takes away 256, else 128.
    const u32 words[2] = {loadSharedWord(from), last};
    u32 numbers[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const u32 pair = words[i % 2] >> (i / 2 * 8);
      numbers[i] =
          addPairs(maskedOr(pair, 0x007f007fu, 0x43004300u), maskedOr(pair, 0x00800080u, 0xc300c300u));
    }
    return {numbers[0], numbers[1], numbers[2], numbers[3]};
  } else {
    // Four bits under the exponent of 16 read as 16 + n.
    auto number = [](u32 bits) { return maskedOr(bits, 0x00780078u, 0x41804180u); };
    return {number(last << 3), number(last >> 1), number(last >> 5), number(last >> 9)};
  }
}

/// Scale and minimum of a block, less its numbers' offset.
template <int T> struct BlockScale {
  float scale, least;
  /// Adds the weights' product with x, given the numbers' product and the sum of x.
  __device__ __forceinline__ void add(float &sum, float product, float total) const {
    sum = __fmaf_rn(scale, product, sum);
    if constexpr (numberOffset<T> != 0)
      sum = __fmaf_rn(least, total, sum);
  }
};

/// Of the block at `block`, or of one of zeros if it is not inside its row.
template <int T> __device__ __forceinline__ BlockScale<T> blockScale(u32 block, bool inside = true) {
  if constexpr (T == dtQ4_1) {
    const u32 halves = inside ? loadSharedWord(block) : 0;
    const float scale = f16ToF32(u16(halves));
    return {scale, __fmaf_rn(-numberOffset<T>, scale, f16ToF32(u16(halves >> 16)))};
  } else {
    const float scale = inside ? sharedHalf(block) : 0.f;
    return {scale, -numberOffset<T> * scale};
  }
}

} // namespace fusebox
