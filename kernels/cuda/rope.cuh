// Rotary position embedding: the table of a step's angles, and the rotation of q or k, both layouts.
#pragma once
#include "base.cuh"

namespace fusebox {

/// cos and sin of position · inv_freq, the angle in f32. S: half, outType, attentionFactor.
/// args: out [tokens, 2, half] (cos, then sin), invFreq [half] f32. Grid: a block of 128 threads a token.
template <class S> __device__ void rope_angles(const Args &args, const StepView &step) {
  letNextStart();
  waitForInputs();
  const int row = blockIdx.x;
  const float position = float(max(__ldcg(step.position + row), 0));
  for (int j = threadIdx.x; j < S::half; j += blockDim.x) {
    const float angle = __fmul_rn(position, static_cast<const float *>(args.p[1])[j]);
    store<S::outType>(args.p[0], (u64(row) * 2) * S::half + j, __fmul_rn(cosf(angle), S::attentionFactor));
    store<S::outType>(args.p[0], (u64(row) * 2 + 1) * S::half + j,
                      __fmul_rn(sinf(angle), S::attentionFactor));
  }
}

/// The pair (x, y) turned by an angle; with roundProducts the products are rounded, as the reference does.
template <class S> __device__ __forceinline__ void rotate(float &x, float &y, float cosine, float sine) {
  auto r = [](float v) { return S::roundProducts ? roundTo<S::type>(v) : v; };
  const float a = r(__fmul_rn(x, cosine)), b = r(__fmul_rn(y, sine));
  const float c = r(__fmul_rn(y, cosine)), d = r(__fmul_rn(x, sine));
  x = roundTo<S::type>(__fsub_rn(a, b));
  y = roundTo<S::type>(__fadd_rn(c, d));
}

/// Column of the first and the second element of pair j.
template <class S> __device__ __forceinline__ int pairFirst(int j) { return S::interleaved ? 2 * j : j; }
template <class S> __device__ __forceinline__ int pairSecond(int j) {
  return S::interleaved ? 2 * j + 1 : j + S::rotaryDim / 2;
}

/// S: heads, headDim, rotaryDim, interleaved, type, anglesType, roundProducts.
/// args: out [tokens, heads * headDim], in, angles. Grid: (tokens, ceil(heads / 4)) blocks of 4 warps.
template <class S> __device__ void rope(const Args &args, const StepView &step) {
  letNextStart();
  waitForInputs();
  const int row = blockIdx.x, head = blockIdx.y * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (head >= S::heads)
    return;
  constexpr int half = S::rotaryDim / 2;
  const u64 base = (u64(row) * S::heads + head) * S::headDim, angles = u64(row) * 2 * half;
  for (int j = lane; j < half; j += 32) {
    float x = load<S::type>(args.p[1], base + pairFirst<S>(j));
    float y = load<S::type>(args.p[1], base + pairSecond<S>(j));
    rotate<S>(x, y, load<S::anglesType>(args.p[2], angles + j),
              load<S::anglesType>(args.p[2], angles + half + j));
    store<S::type>(args.p[0], base + pairFirst<S>(j), x);
    store<S::type>(args.p[0], base + pairSecond<S>(j), y);
  }
  for (int k = S::rotaryDim + lane; k < S::headDim; k += 32)
    store<S::type>(args.p[0], base + k, load<S::type>(args.p[1], base + k));
}

} // namespace fusebox
