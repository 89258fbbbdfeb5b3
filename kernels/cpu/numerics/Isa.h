// What differs by instruction set: the bf16 dot product, rounding to bf16, unpacking of 4- and 8-bit weights.
//
// Every kernel is compiled to bitcode once for each ISA level (x86-64-v3, v4, v4 + AVX512-BF16 + VNNI); this
// file is the only one that looks at which. Whatever the level, the results are the same bits, given that
// worker threads run with FTZ and DAZ set, as VDPBF16PS always does.
#pragma once

#include "kernels/cpu/numerics/Vector.h"

#include <immintrin.h>

namespace fusebox::cpu {

#if defined(__AVX512F__)
inline constexpr int registers = 32;
inline constexpr int registersPerVector = 1;
#else
inline constexpr int registers = 16;
inline constexpr int registersPerVector = 2;
#endif

/// Rounds to bf16, nearest even; a subnormal becomes a zero of its sign, a NaN a quiet NaN.
FB_INLINE v16h toBf16(v16f value) {
#if defined(__AVX512BF16__)
  return __builtin_bit_cast(v16h, _mm512_cvtneps_pbh(__builtin_bit_cast(__m512, value)));
#else
  const v16u all = asBits(value);
  const v16u isNormal = __builtin_bit_cast(v16u, (all & 0x7f800000u) != 0);
  const v16u bits = all & (isNormal | 0x80000000u);
  const v16u rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const v16u isNan = __builtin_bit_cast(v16u, (bits & 0x7fffffffu) > 0x7f800000u);
  const v16u quiet = (bits >> 16) | 0x40u;
  return __builtin_convertvector((quiet & isNan) | (rounded & ~isNan), v16h);
#endif
}

FB_INLINE v16f fromBf16(v16h bits) { return asFloat(__builtin_convertvector(bits, v16u) << 16); }

/// Rounds to bf16 and widens again.
FB_INLINE v16f roundToBf16(v16f value) { return fromBf16(toBf16(value)); }

#if defined(__AVX512BF16__)
/// 32 bf16 numbers as 16 pairs, ready for dot().
struct Pairs {
  v16u packed;
};
FB_INLINE Pairs pairsFromBits(v16u bits) { return {bits}; }

/// Lane i: fma(even a, even b, fma(odd a, odd b, acc)), where pair i holds elements 2i (even) and 2i + 1
/// (odd).
FB_INLINE v16f dot(v16f acc, Pairs a, Pairs b) {
  return __builtin_bit_cast(v16f, _mm512_dpbf16_ps(__builtin_bit_cast(__m512, acc),
                                                   __builtin_bit_cast(__m512bh, a.packed),
                                                   __builtin_bit_cast(__m512bh, b.packed)));
}
#else
struct Pairs {
  v16f odd, even;
};
FB_INLINE Pairs pairsFromBits(v16u bits) { return {asFloat(bits & 0xffff0000u), asFloat(bits << 16)}; }
FB_INLINE v16f dot(v16f acc, Pairs a, Pairs b) { return fma(a.even, b.even, fma(a.odd, b.odd, acc)); }
#endif

/// 32 signed bytes as exact pairs, in order.
FB_INLINE Pairs pairsFromInt8(v32c values) {
#if defined(__AVX512BF16__)
  // Words in natural order: two conversions of 16 consecutive elements each, joined by one packing
  // conversion.
  const v16f low = __builtin_convertvector(__builtin_convertvector(values.lo, v16i), v16f);
  const v16f high = __builtin_convertvector(__builtin_convertvector(values.hi, v16i), v16f);
  return {__builtin_bit_cast(
      v16u, _mm512_cvtne2ps_pbh(__builtin_bit_cast(__m512, high), __builtin_bit_cast(__m512, low)))};
#else
  typedef int16_t v16s __attribute__((ext_vector_type(16)));
  const v16s words = __builtin_bit_cast(v16s, values);
  return {__builtin_convertvector(__builtin_convertvector(words >> 8, v16i), v16f),
          __builtin_convertvector(__builtin_convertvector((words << 8) >> 8, v16i), v16f)};
#endif
}

/// 32 nibbles of a GGUF block (element j low nibble of byte j, element 16 + j its high nibble), minus
/// `Offset`, as exact pairs in order.
template <int Offset> FB_INLINE Pairs pairsFromNibbles(v16b bytes) {
#if defined(__AVX512BW__)
  // A 32-entry table of bf16 numbers, the 16 values twice: the index's fifth bit, a stray bit of the other
  // nibble, falls away.
  constexpr auto entry = [](int i) -> uint16_t {
    return uint16_t(__builtin_bit_cast(uint32_t, float((i & 15) - Offset)) >> 16);
  };
  const v32h table = {entry(0), entry(1), entry(2),  entry(3),  entry(4),  entry(5),  entry(6),  entry(7),
                      entry(8), entry(9), entry(10), entry(11), entry(12), entry(13), entry(14), entry(15),
                      entry(0), entry(1), entry(2),  entry(3),  entry(4),  entry(5),  entry(6),  entry(7),
                      entry(8), entry(9), entry(10), entry(11), entry(12), entry(13), entry(14), entry(15)};
  // The 16 bytes in all four quarters; each takes its eight as words, the upper two quarters their high
  // nibbles.
  const v16u words = {0x80018000, 0x80038002, 0x80058004, 0x80078006, 0x80098008, 0x800b800a,
                      0x800d800c, 0x800f800e, 0x80018000, 0x80038002, 0x80058004, 0x80078006,
                      0x80098008, 0x800b800a, 0x800d800c, 0x800f800e};
  const v16u shifts = {0,       0,       0,       0,       0,       0,       0,       0,
                       0x40004, 0x40004, 0x40004, 0x40004, 0x40004, 0x40004, 0x40004, 0x40004};
  const __m512i all = _mm512_broadcast_i32x4(__builtin_bit_cast(__m128i, bytes));
  const __m512i index = _mm512_srlv_epi16(_mm512_shuffle_epi8(all, __builtin_bit_cast(__m512i, words)),
                                          __builtin_bit_cast(__m512i, shifts));
  return pairsFromBits(
      __builtin_bit_cast(v16u, _mm512_permutexvar_epi16(index, __builtin_bit_cast(__m512i, table))));
#else
  // A word holds an even element's byte and the next odd one's: low nibbles are of the first 16 elements.
  typedef uint16_t v8h __attribute__((ext_vector_type(8)));
  const v8u words = __builtin_convertvector(__builtin_bit_cast(v8h, bytes), v8u);
  Pairs pairs;
  pairs.even.lo = __builtin_convertvector(__builtin_bit_cast(v8i, words & 15) - Offset, v8f);
  pairs.even.hi = __builtin_convertvector(__builtin_bit_cast(v8i, (words >> 4) & 15) - Offset, v8f);
  pairs.odd.lo = __builtin_convertvector(__builtin_bit_cast(v8i, (words >> 8) & 15) - Offset, v8f);
  pairs.odd.hi = __builtin_convertvector(__builtin_bit_cast(v8i, words >> 12) - Offset, v8f);
  return pairs;
#endif
}

#if !defined(__AVX512VNNI__)
#if !defined(__AVX512BW__)
/// product(a, b) on 256-bit halves.
template <typename Product> FB_INLINE v16u inHalves(v16u a, v16u b, Product product) {
  // Named halves: a bit cast of `a.hi` itself would read the low half.
  const v8u aLow = a.lo, aHigh = a.hi, bLow = b.lo, bHigh = b.hi;
  v16u result;
  result.lo =
      __builtin_bit_cast(v8u, product(__builtin_bit_cast(__m256i, aLow), __builtin_bit_cast(__m256i, bLow)));
  result.hi = __builtin_bit_cast(
      v8u, product(__builtin_bit_cast(__m256i, aHigh), __builtin_bit_cast(__m256i, bHigh)));
  return result;
}
#endif

/// Lane i: the sum of the products of its two signed 16-bit halves.
FB_INLINE v16i multiplyAddWords(v16u a, v16u b) {
#if defined(__AVX512BW__)
  return __builtin_bit_cast(
      v16i, _mm512_madd_epi16(__builtin_bit_cast(__m512i, a), __builtin_bit_cast(__m512i, b)));
#else
  return __builtin_bit_cast(
      v16i, inHalves(a, b, [](__m256i x, __m256i y) FB_INLINE_LAMBDA { return _mm256_madd_epi16(x, y); }));
#endif
}

/// 16-bit halves: sums of two products of an unsigned byte of `a` with a signed one of `b`, saturated.
FB_INLINE v16u multiplyAddBytes(v16u a, v16u b) {
#if defined(__AVX512BW__)
  return __builtin_bit_cast(
      v16u, _mm512_maddubs_epi16(__builtin_bit_cast(__m512i, a), __builtin_bit_cast(__m512i, b)));
#else
  return inHalves(a, b, [](__m256i x, __m256i y) FB_INLINE_LAMBDA { return _mm256_maddubs_epi16(x, y); });
#endif
}
#endif

/// Lane i: acc + Σ over bytes 4 i … 4 i + 3 of a (unsigned, at most Largest) times b (signed, at most 127 in
/// size); exact.
template <int Largest> FB_INLINE v16i dotBytes(v16i acc, v16u a, v16u b) {
#if defined(__AVX512VNNI__)
  return __builtin_bit_cast(v16i, _mm512_dpbusd_epi32(__builtin_bit_cast(__m512i, acc),
                                                      __builtin_bit_cast(__m512i, a),
                                                      __builtin_bit_cast(__m512i, b)));
#else
  if constexpr (2 * Largest * 127 <= 32767) {
    return acc + multiplyAddWords(multiplyAddBytes(a, b), v16u(0x00010001u));
  } else {
    // Even and odd bytes as 16-bit numbers; each product of two pairs is one multiply-add.
    typedef int16_t v32s __attribute__((ext_vector_type(32)));
    const v16u evenA = a & 0x00ff00ffu, oddA = (a >> 8) & 0x00ff00ffu;
    const v16u oddB = __builtin_bit_cast(v16u, __builtin_bit_cast(v32s, b) >> 8);
    const v16u evenB = __builtin_bit_cast(v16u, (__builtin_bit_cast(v32s, b) << 8) >> 8);
    return acc + multiplyAddWords(evenA, evenB) + multiplyAddWords(oddA, oddB);
  }
#endif
}

} // namespace fusebox::cpu
