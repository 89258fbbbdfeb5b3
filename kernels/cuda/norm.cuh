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
  // To multiply by a power of two is as exact, and sooner done.
  const float mean = (columns & (columns - 1)) == 0 ? __fmul_rn(sumOfSquares, 1.f / float(columns))
                                                    : __fdiv_rn(sumOfSquares, float(columns));
  return __frcp_rn(__fsqrt_rn(__fadd_rn(mean, eps)));
}

/// One normed element: rounded before the gain if the reference does (Llama, Qwen), not otherwise (Gemma).
template <class S> __device__ __forceinline__ float normed(float v, float factor, float gain) {
  float y = __fmul_rn(v, factor);
  if constexpr (S::roundNormalised)
    y = roundTo<S::type>(y);
  return __fmul_rn(y, S::onePlus ? __fadd_rn(1.f, gain) : gain);
}

/// Columns [first, first + 8) of a row that begins at element `base`; zero past its end.
template <int T, int Columns>
__device__ __forceinline__ void loadColumns(float (&v)[8], const void *in, u64 base, int first) {
#pragma unroll
  for (int i = 0; i < 8; ++i)
    v[i] = 0.f;
  if constexpr (Columns % 8 == 0) {
    if (first < Columns)
      load8<T>(v, in, base + first, base + first + 8);
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i)
      if (first + i < Columns)
        v[i] = load<T>(in, base + first + i);
  }
}
template <int T, int Columns>
__device__ __forceinline__ void storeColumns(void *out, u64 base, int first, const float (&v)[8]) {
  if constexpr (Columns % 8 == 0) {
    if (first < Columns)
      store8<T>(out, base + first, base + first + 8, v);
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i)
      if (first + i < Columns)
        store<T>(out, base + first + i, v[i]);
  }
}

/// S: columns (of a group), groups, type, gainType, roundNormalised, onePlus, eps. One warp a group.
/// args: out [rows, groups * columns], in, gain [columns].
template <class S> __device__ void normTile(const Args &args, int row, int group) {
  using Order = NormOrder<S::columns>;
  const int lane = threadIdx.x % 32, w = lane / 4, t = lane % 4;
  const u64 base = (u64(row) * S::groups + group) * S::columns;
  // A load behind a store waits for it, so gains are read first, as far as there are registers.
  constexpr int early = Order::chunksPerGroup <= 8 ? Order::chunksPerGroup : 0;
  float v[Order::chunksPerGroup][8], gain[early + 1][8];
  float sum = 0.f;
#pragma unroll
  for (int c = 0; c < Order::chunksPerGroup; ++c) {
    const int first = (w * Order::chunksPerGroup + c) * 32 + t * 8;
    loadColumns<S::type, S::columns>(v[c], args.p[1], base, first);
    if (c < early)
      loadColumns<S::gainType, S::columns>(gain[c], args.p[2], 0, first);
#pragma unroll
    for (int e = 0; e < 8; ++e)
      sum = __fmaf_rn(v[c][e], v[c][e], sum);
  }
  const float factor = rmsFactor(warpSum(sum), S::columns, S::eps);
#pragma unroll
  for (int c = 0; c < Order::chunksPerGroup; ++c) {
    const int first = (w * Order::chunksPerGroup + c) * 32 + t * 8;
    if (c >= early)
      loadColumns<S::gainType, S::columns>(gain[early], args.p[2], 0, first);
    float y[8];
#pragma unroll
    for (int e = 0; e < 8; ++e)
      y[e] = normed<S>(v[c][e], factor, gain[c < early ? c : early][e]);
    storeColumns<S::type, S::columns>(args.p[0], base, first, y);
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
