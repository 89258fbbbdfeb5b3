// RMS norm of rows, or of the equal groups of a row (per-head norm).
//
// The sum of squares has one order everywhere, so that a norm merged into another kernel gives the same bits:
// 32 virtual lanes (w, t), w in 0..7, t in 0..3; the columns are cut into chunks of 32, lane group w takes
// ceil(chunks/8) consecutive chunks, lane t the elements 8t..8t+7 of each; one FMA chain a lane; then the
// tree t^1, t^2, w^1, w^2, w^4.
#pragma once
#include "base.cuh"

namespace fusebox {

/// Columns of lane group w: chunks [w * chunksPerGroup, (w + 1) * chunksPerGroup).
template <int Columns> struct NormOrder {
  static constexpr int chunks = divideUp(Columns, 32);
  static constexpr int chunksPerGroup = divideUp(chunks, 8);
};

/// The factor from a mean of squares, correctly rounded at each step.
__device__ __forceinline__ float rmsFactor(float sumOfSquares, int columns, float eps) {
  return __frcp_rn(__fsqrt_rn(__fadd_rn(__fdiv_rn(sumOfSquares, float(columns)), eps)));
}

/// One normed element: rounded before the gain if the reference does (Llama, Qwen), not otherwise (Gemma).
template <class S> __device__ __forceinline__ float normed(float v, float factor, float gain) {
  float y = __fmul_rn(v, factor);
  if constexpr (S::roundNormalised)
    y = roundTo<S::type>(y);
  return __fmul_rn(y, S::onePlus ? __fadd_rn(1.f, gain) : gain);
}

/// S: columns (of a group), groups, type, gainType, roundNormalised, onePlus, eps. One warp a group.
/// args: out [rows, groups * columns], in, gain [columns].
template <class S> __device__ void normTile(const Args &args, int row, int group) {
  using Order = NormOrder<S::columns>;
  const int lane = threadIdx.x % 32, w = lane / 4, t = lane % 4;
  const u64 base = (u64(row) * S::groups + group) * S::columns;
  float v[Order::chunksPerGroup * 8];
  float sum = 0.f;
#pragma unroll
  for (int c = 0; c < Order::chunksPerGroup; ++c)
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const int k = (w * Order::chunksPerGroup + c) * 32 + t * 8 + e;
      v[c * 8 + e] = k < S::columns ? load<S::type>(args.p[1], base + k) : 0.f;
      sum = __fmaf_rn(v[c * 8 + e], v[c * 8 + e], sum);
    }
  const float factor = rmsFactor(warpSum(sum), S::columns, S::eps);
#pragma unroll
  for (int c = 0; c < Order::chunksPerGroup; ++c)
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const int k = (w * Order::chunksPerGroup + c) * 32 + t * 8 + e;
      if (k < S::columns)
        store<S::type>(args.p[0], base + k, normed<S>(v[c * 8 + e], factor, load<S::gainType>(args.p[2], k)));
    }
}

/// Grid: ceil(rows * groups / 4) blocks of 4 warps.
template <class S> __device__ void norm(const Args &args, const StepView &step) {
  letNextStart();
  waitForInputs();
  const int item = blockIdx.x * 4 + threadIdx.x / 32;
  const int rows = S::logitsRows ? step.logitsRows : step.tokens;
  if (item < rows * S::groups)
    normTile<S>(args, item / S::groups, item % S::groups);
}

} // namespace fusebox
