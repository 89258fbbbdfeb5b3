// How the linear kernel multiplies, by pair of element types: three ways, each with its accumulation step.
#pragma once

#include "kernels/cpu/Linear.h"
#include "kernels/cpu/numerics/Blocks.h"

namespace fusebox::cpu {

/// 32 bf16 elements of a row from element `first`; unless Whole, zeros beyond `columns`.
template <bool Whole> FB_INLINE Pairs loadPairs(const char *row, int64_t first, int64_t columns) {
  const char *from = row + first * 2;
  if constexpr (Whole)
    return pairsFromBits(load<v16u>(from));
  v16u bits = 0;
  for (int64_t i = 0; first + i < columns; ++i)
    bits[i / 2] = bits[i / 2] | (uint32_t(load<uint16_t>(from + i * 2)) << (i % 2 * 16));
  return pairsFromBits(bits);
}

/// Sums of pairs that a tile keeps in registers.
struct PairsTile {
#if defined(__AVX512BF16__)
  static constexpr int tileRows = 4, tileColumns = 6;
#elif defined(__AVX512F__)
  static constexpr int tileRows = 4, tileColumns = 4;
#else
  static constexpr int tileRows = 1, tileColumns = 4;
#endif
};

/// bf16 activations, bf16 weights.
struct PairsWay : PairsTile {
  using Input = Pairs;
  using Weight = Pairs;
  static constexpr int64_t step = 32, stepBytes = 64;
  static constexpr bool scaled = false, minimum = false, quantises = false;
  template <bool Whole> FB_INLINE Pairs loadInput(const char *row, int64_t first, int64_t columns) {
    return loadPairs<Whole>(row, first, columns);
  }
  template <bool Whole> FB_INLINE Pairs loadWeight(const char *row, int64_t first, int64_t columns) {
    return loadPairs<Whole>(row, first, columns);
  }
  FB_INLINE int64_t weightRowBytes(int64_t columns) { return columns * 2; }
  FB_INLINE v16f accumulate(v16f acc, Pairs x, Pairs w, float) { return dot(acc, x, w); }
};

/// bf16 activations, quantised blocks of type T.
template <DType T> struct BlockWay : PairsTile {
  using Input = Pairs;
  using Weight = Pairs;
  static constexpr int64_t step = blockElements, stepBytes = blockSize(T).bytes;
  static constexpr bool scaled = true, minimum = hasMinimum<T>, quantises = false;
  FB_INLINE const char *block(const char *row, int64_t first) {
    return row + first / blockElements * blockSize(T).bytes;
  }
  template <bool> FB_INLINE Pairs loadInput(const char *row, int64_t first, int64_t) {
    return pairsFromBits(load<v16u>(row + first * 2));
  }
  template <bool> FB_INLINE Pairs loadWeight(const char *row, int64_t first, int64_t) {
    return blockPairs<T>(block(row, first));
  }
  FB_INLINE int64_t weightRowBytes(int64_t columns) { return rowBytes<T>(columns); }
  FB_INLINE v16f accumulate(v16f acc, Pairs x, Pairs w, float scale) {
    return fma(splat(scale), dot(splat(0.0f), x, w), acc);
  }
};

/// Anything in f32: In activations, W weights, both widened.
template <DType In, DType W> struct F32Way {
  using Input = v16f;
  using Weight = v16f;
  static constexpr int64_t step = lanes, stepBytes = lanes * blockSize(W).bytes / blockSize(W).elements;
  static constexpr bool scaled = false, minimum = false, quantises = false;
#if defined(__AVX512F__)
  static constexpr int tileRows = 4, tileColumns = 6;
#else
  static constexpr int tileRows = 2, tileColumns = 2;
#endif
  template <bool Whole> FB_INLINE v16f loadInput(const char *row, int64_t first, int64_t columns) {
    return loadUpTo<In>(row + first * bytesOf<In>, Whole ? lanes : columns - first);
  }
  template <bool Whole> FB_INLINE v16f loadWeight(const char *row, int64_t first, int64_t columns) {
    return loadWeightLanes<W>(row, first, Whole ? lanes : columns - first);
  }
  FB_INLINE int64_t weightRowBytes(int64_t columns) { return rowBytes<W>(columns); }
  FB_INLINE v16f accumulate(v16f acc, v16f x, v16f w, float) { return fma(x, w, acc); }
};

/// Σx of each 32-element block of a bf16 row: pairs added, then the lanes' tree.
FB_INLINE void blockSums(const char *row, int64_t columns, float *sums) {
  for (int64_t block = 0; block < columns / blockElements; ++block) {
    const v16u bits = load<v16u>(row + block * 64);
    sums[block] = sumLanes(asFloat(bits << 16) + asFloat(bits & 0xffff0000u));
  }
}

} // namespace fusebox::cpu
