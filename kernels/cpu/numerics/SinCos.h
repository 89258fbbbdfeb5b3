// sin and cos of f32 angles, computed in f64: correct to within a hair of half an ulp of f32.
#pragma once

#include "kernels/cpu/numerics/Vector.h"

namespace fusebox::cpu {

struct SinCos {
  v8d sin, cos;
};

/// For |angle| below 2^30: reduced by multiples of π/2 in three parts, then Taylor polynomials on [-π/4,
/// π/4].
FB_INLINE SinCos sinCos(v8d angle) {
  typedef int64_t v8l __attribute__((ext_vector_type(8)));
  const v8d k = __builtin_elementwise_rint(angle * 0.63661977236758134308);
  v8d r = fma(k, v8d(-1.57079632679489655800), angle);
  r = fma(k, v8d(-6.12323399573676603587e-17), r);
  const v8d s = r * r;
  v8d sin = v8d(1.0 / 6227020800.0);
  sin = fma(sin, s, v8d(-1.0 / 39916800.0));
  sin = fma(sin, s, v8d(1.0 / 362880.0));
  sin = fma(sin, s, v8d(-1.0 / 5040.0));
  sin = fma(sin, s, v8d(1.0 / 120.0));
  sin = fma(sin, s, v8d(-1.0 / 6.0));
  sin = fma(sin * s, r, r);
  v8d cos = v8d(-1.0 / 87178291200.0);
  cos = fma(cos, s, v8d(1.0 / 479001600.0));
  cos = fma(cos, s, v8d(-1.0 / 3628800.0));
  cos = fma(cos, s, v8d(1.0 / 40320.0));
  cos = fma(cos, s, v8d(-1.0 / 720.0));
  cos = fma(cos, s, v8d(1.0 / 24.0));
  cos = fma(cos, s, v8d(-0.5));
  cos = fma(cos, s, v8d(1.0));
  const v8l quadrant = __builtin_convertvector(k, v8l);
  const v8l swap = (quadrant & 1) != 0;
  const v8l sinBits = __builtin_bit_cast(v8l, sin), cosBits = __builtin_bit_cast(v8l, cos);
  const v8l sinSign = (quadrant & 2) << 62, cosSign = ((quadrant + 1) & 2) << 62;
  return {__builtin_bit_cast(v8d, ((cosBits & swap) | (sinBits & ~swap)) ^ sinSign),
          __builtin_bit_cast(v8d, ((sinBits & swap) | (cosBits & ~swap)) ^ cosSign)};
}

} // namespace fusebox::cpu
