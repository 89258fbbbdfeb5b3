// exp, tanh, erf and the activations built on them, on 16 f32 lanes, the same bits on every ISA.
#pragma once

#include "kernels/cpu/numerics/Vector.h"

namespace fusebox::cpu {

/// e^(x - n ln 2) for |x - n ln 2| <= ln 2 / 2.
FB_INLINE v16f expOfRemainder(v16f x, v16f n) {
  // ln 2 in two parts; the first has trailing zeros enough that n times it is exact.
  v16f r = fma(n, splat(-0.693145751953125f), x);
  r = fma(n, splat(-1.42860682030941723e-6f), r);
  v16f p = splat(1.98756912e-4f);
  p = fma(p, r, splat(1.39819994e-3f));
  p = fma(p, r, splat(8.33345204e-3f));
  p = fma(p, r, splat(4.16657962e-2f));
  p = fma(p, r, splat(1.66666657e-1f));
  p = fma(p, r, splat(0.5f));
  return fma(p, r * r, r) + 1.0f;
}

/// e^x within 1 ulp; 0 below -87.33 (the result would be subnormal), +inf above 88.72, NaN for NaN.
FB_INLINE v16f expLanes(v16f x) {
  const v16f n = __builtin_elementwise_rint(x * 1.44269504088896341f);
  const v16f p = expOfRemainder(x, n);
  // 2^n in two factors, so that n = 128 still works.
  const v16i exponent = __builtin_convertvector(
      __builtin_elementwise_max(__builtin_elementwise_min(n, splat(130.0f)), splat(-130.0f)), v16i);
  const v16i half = exponent >> 1;
  const v16f low = asFloat(__builtin_bit_cast(v16u, (half + 127) << 23));
  const v16f high = asFloat(__builtin_bit_cast(v16u, (exponent - half + 127) << 23));
  v16f result = p * low * high;
  result = select(x < splat(-87.33654f), splat(0.0f), result);
  result = select(x > splat(88.72284f), splat(__builtin_inff()), result);
  return select(x != x, x, result);
}

/// e^x for x <= 0, where nothing overflows: what softmax needs. 0 below -87.33, also for -inf.
FB_INLINE v16f expNegative(v16f x) {
  const v16f bounded = __builtin_elementwise_max(x, splat(-87.33654f));
  const v16f n = __builtin_elementwise_rint(bounded * 1.44269504088896341f);
  const v16f p = expOfRemainder(bounded, n);
  const v16i scale = (__builtin_convertvector(n, v16i) + 127) << 23;
  return select(x < splat(-87.33654f), splat(0.0f), p * asFloat(__builtin_bit_cast(v16u, scale)));
}

/// x / (1 + e^-x).
FB_INLINE v16f silu(v16f x) { return x / (1.0f + expLanes(-x)); }

/// tanh within 2 ulp: a Taylor-shaped polynomial in x² below 0.55, else from e^2|x|.
FB_INLINE v16f tanhLanes(v16f x) {
  const v16f size = __builtin_elementwise_abs(x);
  const v16f square = x * x;
  v16f p = splat(-5.70498872745e-3f);
  p = fma(p, square, splat(2.06390887954e-2f));
  p = fma(p, square, splat(-5.37397155531e-2f));
  p = fma(p, square, splat(1.33314422036e-1f));
  p = fma(p, square, splat(-3.33332819422e-1f));
  const v16f small = fma(p * square, x, x);
  const v16f large = 1.0f - 2.0f / (expLanes(size + size) + 1.0f);
  const v16f signedLarge = __builtin_elementwise_copysign(large, x);
  return select(size < splat(0.625f), small, signedLarge);
}

/// erf in f64: Maclaurin series below 2, else from the continued fraction of erfc; far below f32's ulp.
FB_INLINE v8d erfLanes(v8d x) {
  const v8d size = __builtin_elementwise_min(__builtin_elementwise_abs(x), v8d(6.0));
  const v8d square = size * size;
  // erf(x) = 2/√π · e^{-x²} · Σ 2^n x^{2n+1} / (2n+1)!!, all terms positive: no cancellation up to 6.
  v8d term = size, sum = size;
  for (int n = 1; n < 100; ++n) {
    term = term * square * (2.0 / (2 * n + 1));
    sum = sum + term;
  }
  // e^{-x²}: 2^k · e^r by a degree-13 polynomial.
  const v8d y = -square;
  const v8d k = __builtin_elementwise_rint(y * 1.4426950408889634074);
  v8d r = fma(k, v8d(-6.93147180369123816490e-01), y);
  r = fma(k, v8d(-1.90821492927058770002e-10), r);
  v8d p = v8d(1.0);
  for (int n = 13; n > 0; --n)
    p = fma(p * (1.0 / n), r, v8d(1.0));
  typedef int64_t v8l __attribute__((ext_vector_type(8)));
  const v8l bits = (__builtin_convertvector(k, v8l) + 1023) << 52;
  const v8d result = 1.12837916709551257390 * sum * p * __builtin_bit_cast(v8d, bits);
  return __builtin_elementwise_copysign(__builtin_elementwise_min(result, v8d(1.0)), x);
}

/// x/2 · (1 + erf(x/√2)).
FB_INLINE v16f gelu(v16f x) {
  const v8d low = __builtin_convertvector(x.lo, v8d), high = __builtin_convertvector(x.hi, v8d);
  v16f result;
  result.lo = __builtin_convertvector(0.5 * low * (1.0 + erfLanes(low * 0.70710678118654752440)), v8f);
  result.hi = __builtin_convertvector(0.5 * high * (1.0 + erfLanes(high * 0.70710678118654752440)), v8f);
  return result;
}

/// x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))).
FB_INLINE v16f geluTanh(v16f x) {
  const v16f inner = 0.79788456080286536f * fma(0.044715f * x * x, x, x);
  return 0.5f * x * (1.0f + tanhLanes(inner));
}

} // namespace fusebox::cpu
