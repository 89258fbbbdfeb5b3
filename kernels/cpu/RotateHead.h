// The rotation of one head: the rope kernel's work, and of attention_row.
#pragma once

#include "kernels/cpu/Rope.h"
#include "kernels/cpu/numerics/Convert.h"

namespace fusebox::cpu {

struct Rotated {
  v16f first, second;
};

/// (a, b) by the angle: (a·cos − b·sin, b·cos + a·sin), products and sums in f32, rounded where the shape
/// says.
template <DType T> FB_INLINE Rotated rotate(v16f a, v16f b, v16f cos, v16f sin, bool roundProducts) {
  v16f aCos = a * cos, bSin = -b * sin, bCos = b * cos, aSin = a * sin;
  if (roundProducts) {
    aCos = roundTo<T>(aCos);
    bSin = roundTo<T>(bSin);
    bCos = roundTo<T>(bCos);
    aSin = roundTo<T>(aSin);
  }
  return {aCos + bSin, bCos + aSin};
}

/// out [headDim] = in [headDim] by the token's angles; out may be in.
template <DType T, DType Angles, bool Interleaved>
FB_INLINE void rotateHead(const RopeShape *shape, const char *in, char *out, const char *cosRow) {
  const int64_t half = shape->rotaryDim / 2;
  const char *sinRow = cosRow + half * bytesOf<Angles>;
  forLanes(half, [&](int64_t i, int64_t count) FB_INLINE_LAMBDA {
    const v16f cos = loadUpTo<Angles>(cosRow + i * bytesOf<Angles>, count);
    const v16f sin = loadUpTo<Angles>(sinRow + i * bytesOf<Angles>, count);
    if constexpr (!Interleaved) {
      const v16f a = loadUpTo<T>(in + i * bytesOf<T>, count);
      const v16f b = loadUpTo<T>(in + (half + i) * bytesOf<T>, count);
      const Rotated r = rotate<T>(a, b, cos, sin, shape->roundProducts);
      storeUpTo<T>(out + i * bytesOf<T>, r.first, count);
      storeUpTo<T>(out + (half + i) * bytesOf<T>, r.second, count);
    } else {
      const char *pairs = in + 2 * i * bytesOf<T>;
      char *to = out + 2 * i * bytesOf<T>;
      const int64_t low = 2 * count < lanes ? 2 * count : lanes, high = 2 * count - low;
      const v16f x = loadUpTo<T>(pairs, low), y = loadUpTo<T>(pairs + lanes * bytesOf<T>, high);
      const v16f a = __builtin_shufflevector(x, y, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
      const v16f b = __builtin_shufflevector(x, y, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
      const Rotated r = rotate<T>(a, b, cos, sin, shape->roundProducts);
      storeUpTo<T>(
          to,
          __builtin_shufflevector(r.first, r.second, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23),
          low);
      storeUpTo<T>(to + lanes * bytesOf<T>,
                   __builtin_shufflevector(r.first, r.second, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29,
                                           14, 30, 15, 31),
                   high);
    }
  });
  for (int64_t i = shape->rotaryDim; i < shape->headDim; ++i)
    storeOne<T>(out + i * bytesOf<T>, loadOne<T>(in + i * bytesOf<T>));
}

} // namespace fusebox::cpu
