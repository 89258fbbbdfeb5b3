// Vector types of the CPU kernels and the operations every ISA lowers alike: unaligned access, fixed-order
// sums.
//
// Kernels are written for 16 virtual f32 lanes. LLVM lowers a v16f to one AVX-512 register or two AVX ones,
// so the bits of a result are the same on every target. All helpers are inlined into the kernel that uses
// them.
#pragma once

#include <cstdint>

#define FB_INLINE static inline __attribute__((always_inline))
#define FB_MEMBER inline __attribute__((always_inline))
/// For lambdas: `[&](…) FB_INLINE_LAMBDA { … }`.
#define FB_INLINE_LAMBDA __attribute__((always_inline))
#define FB_UNROLL _Pragma("clang loop unroll(full)")

namespace fusebox::cpu {

typedef float v16f __attribute__((ext_vector_type(16)));
typedef float v8f __attribute__((ext_vector_type(8)));
typedef float v4f __attribute__((ext_vector_type(4)));
typedef float v2f __attribute__((ext_vector_type(2)));
typedef uint32_t v16u __attribute__((ext_vector_type(16)));
typedef int32_t v16i __attribute__((ext_vector_type(16)));
typedef uint32_t v8u __attribute__((ext_vector_type(8)));
typedef uint32_t v4u __attribute__((ext_vector_type(4)));
typedef int32_t v8i __attribute__((ext_vector_type(8)));
typedef uint16_t v16h __attribute__((ext_vector_type(16)));
typedef uint16_t v32h __attribute__((ext_vector_type(32)));
typedef uint8_t v16b __attribute__((ext_vector_type(16)));
typedef int8_t v16c __attribute__((ext_vector_type(16)));
typedef int8_t v32c __attribute__((ext_vector_type(32)));
typedef _Float16 v16hf __attribute__((ext_vector_type(16)));
typedef _Float16 v4hf __attribute__((ext_vector_type(4)));
typedef double v8d __attribute__((ext_vector_type(8)));

inline constexpr int lanes = 16;

/// Weights are mapped from files that align to 8 bytes only, so no access assumes more than one byte.
template <typename T> FB_INLINE T load(const void *from) {
  struct __attribute__((packed, may_alias)) Unaligned {
    T value;
  };
  return static_cast<const Unaligned *>(from)->value;
}
template <typename T> FB_INLINE void store(void *to, T value) {
  struct __attribute__((packed, may_alias)) Unaligned {
    T value;
  };
  static_cast<Unaligned *>(to)->value = value;
}

FB_INLINE v16f splat(float value) { return v16f(value); }
FB_INLINE v16u asBits(v16f value) { return __builtin_bit_cast(v16u, value); }
FB_INLINE v16f asFloat(v16u bits) { return __builtin_bit_cast(v16f, bits); }
FB_INLINE v16f fma(v16f a, v16f b, v16f c) { return __builtin_elementwise_fma(a, b, c); }
FB_INLINE v8d fma(v8d a, v8d b, v8d c) { return __builtin_elementwise_fma(a, b, c); }
FB_INLINE float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
FB_INLINE v16f select(v16i mask, v16f whenTrue, v16f whenFalse) {
  return asFloat((asBits(whenTrue) & __builtin_bit_cast(v16u, mask)) |
                 (asBits(whenFalse) & ~__builtin_bit_cast(v16u, mask)));
}

/// Sums 16 lanes by one fixed tree: i with i+8, then i+4, i+2, i+1.
FB_INLINE float sumLanes(v16f v) {
  v8f a = v.lo + v.hi;
  v4f b = a.lo + a.hi;
  v2f c = b.lo + b.hi;
  return c.x + c.y;
}

/// The largest lane (no NaN expected; order does not matter).
FB_INLINE float maxLanes(v16f v) {
  v8f a = __builtin_elementwise_max(v.lo, v.hi);
  v4f b = __builtin_elementwise_max(a.lo, a.hi);
  v2f c = __builtin_elementwise_max(b.lo, b.hi);
  return __builtin_elementwise_max(c.x, c.y);
}

/// One level of sumLanes for two vectors at once; `Half` lanes of each group of 2·Half are added to the other
/// half.
template <int Half> FB_INLINE v16f foldPair(v16f a, v16f b) {
  if constexpr (Half == 8)
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
           __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  else if constexpr (Half == 4)
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
           __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
  else if constexpr (Half == 2)
    return __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
           __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  else
    return __builtin_shufflevector(a, b, 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30) +
           __builtin_shufflevector(a, b, 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31);
}

/// sumLanes of 16 vectors, result i of v[i]: bit for bit what sumLanes gives, at a quarter of the
/// instructions.
FB_INLINE v16f sumLanes16(const v16f *v) {
  v16f a[8], b[4], c[2];
  // a[4 g + p] holds v[8 g + p] in its low half and v[8 g + 4 + p] in its high half, so that the results come
  // out in order: 128-bit group j of b[p] belongs to v[4 j + p].
  FB_UNROLL for (int i = 0; i < 8; ++i) a[i] =
      foldPair<8>(v[8 * (i / 4) + i % 4], v[8 * (i / 4) + 4 + i % 4]);
  FB_UNROLL for (int i = 0; i < 4; ++i) b[i] = foldPair<4>(a[i], a[i + 4]);
  FB_UNROLL for (int i = 0; i < 2; ++i) c[i] = foldPair<2>(b[2 * i], b[2 * i + 1]);
  return foldPair<1>(c[0], c[1]);
}

} // namespace fusebox::cpu
