// y = x W^T for many rows, bf16, on tensor cores: blocks of 128 rows × 128 outputs, k in steps of 64 through
// a ring of three stages in shared memory. Every output is one chain of products in ascending k, so its bits
// depend neither on the number of rows nor on where its row lies.
#pragma once
#include "base.cuh"
#include "tiles.cuh"

namespace fusebox {

/// S: in, out, hasBias, biasType, logitsRows, Body (of the sum alone). args: out [rows, out], in [rows, in],
/// weight [out, in], bias [out]. Grid: (ceil(rows / 128), ceil(out / 128)) blocks of 256 threads,
/// LinearTile<S>::sharedBytes of dynamic shared memory.
template <class S> struct LinearTile {
  static constexpr int rowTile = 128, outTile = 128, depth = 64, stages = 3, steps = divideUp(S::in, depth);
  using Layout = TileLayout<depth>;
  using Body = typename S::Body;
  static constexpr int stageBytes = (rowTile + outTile) * depth * 2, sharedBytes = stages * stageBytes;
  static_assert(S::in % 8 == 0, "rows must be whole 16-byte vectors");

  const Args &args;
  const int rows, firstRow = blockIdx.x * rowTile, firstOut = blockIdx.y * outTile;
  const u32 shared = dynamicShared();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  /// Starts the copies of k step `step`: x's rows, then W's.
  __device__ __forceinline__ void copyStep(int step) const {
    const u32 stage = shared + u32(step % stages * stageBytes);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int item = i % 4 * 256 + threadIdx.x, row = item / 8, chunk = item % 8,
                k = step * depth + chunk * 8;
      const bool isInput = i < 4;
      const int global = (isInput ? firstRow : firstOut) + row, limit = isInput ? rows : S::out;
      const u16 *from = static_cast<const u16 *>(args.p[isInput ? 1 : 2]);
      const bool inside = global < limit && k < S::in;
      copyAsync(Layout::at(stage + (isInput ? 0 : rowTile * depth * 2), row, chunk),
                from + (inside ? u64(global) * S::in + k : 0), inside);
    }
  }

  /// One k step: warp (m, n) has 64 rows from 64 m and 32 outputs from 32 n.
  __device__ __forceinline__ void multiply(float (&sum)[4][4][4], int step) const {
    const u32 stage = shared + u32(step % stages * stageBytes), weights = stage + rowTile * depth * 2;
    const int firstM = warp % 2 * 64, firstN = warp / 2 * 32;
#pragma unroll
    for (int k = 0; k < depth / 16; ++k) {
      u32 a[4][4], b[2][4];
#pragma unroll
      for (int m = 0; m < 4; ++m)
        loadMatrices(a[m], Layout::at(stage, firstM + m * 16 + lane % 16, 2 * k + lane / 16));
#pragma unroll
      for (int n = 0; n < 2; ++n)
        loadMatrices(b[n],
                     Layout::at(weights, firstN + n * 16 + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
#pragma unroll
      for (int m = 0; m < 4; ++m)
#pragma unroll
        for (int n = 0; n < 4; ++n)
          mma(sum[m][n], a[m][0], a[m][1], a[m][2], a[m][3], b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
    }
  }

  __device__ __forceinline__ void finish(int row, int out, float v) const {
    if (row >= rows || out >= S::out)
      return;
    if constexpr (S::hasBias)
      v = __fadd_rn(v, load<S::biasType>(args.p[3], out));
    store<Body::result>(args.p[0], u64(row) * S::out + out, Body::apply(&v));
  }

  /// Two neighbouring outputs.
  __device__ __forceinline__ void finishPair(int row, int out, float v0, float v1) const {
    if constexpr (Body::result == dtBF16 && S::out % 2 == 0 && !S::hasBias) {
      if (row < rows && out < S::out)
        *reinterpret_cast<u32 *>(static_cast<u16 *>(args.p[0]) + u64(row) * S::out + out) =
            packBf16(Body::apply(&v0), Body::apply(&v1));
    } else {
      finish(row, out, v0);
      finish(row, out + 1, v1);
    }
  }

  __device__ __forceinline__ void run() const {
    float sum[4][4][4] = {};
    throughRing<stages>(steps, [&](int step) { copyStep(step); }, [&](int step) { multiply(sum, step); });
    const int row = firstRow + warp % 2 * 64 + lane / 4, out = firstOut + warp / 2 * 32 + lane % 4 * 2;
#pragma unroll
    for (int m = 0; m < 4; ++m)
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        finishPair(row + m * 16, out + n * 8, sum[m][n][0], sum[m][n][1]);
        finishPair(row + m * 16 + 8, out + n * 8, sum[m][n][2], sum[m][n][3]);
      }
  }
};

template <class S> __device__ void linear_tile(const Args &args, const StepView &step) {
  letNextStart();
  waitForInputs();
  const int rows = S::logitsRows ? step.logitsRows : step.tokens;
  if (int(blockIdx.x) * LinearTile<S>::rowTile < rows)
    LinearTile<S>{args, rows}.run();
}

} // namespace fusebox
