// y = x W^T for every weight and activation type there is, in f32 on the plain units: quantised weights, f32
// models, odd sizes. A warp computes S::warpOutputs outputs of S::rowTile rows; its lanes take 8 neighbouring
// k in turn. A sum is one FMA chain a lane in ascending k, then the tree of warpSum: the same for every row,
// whatever runs beside it.
#pragma once
#include "base.cuh"
#include "weights.cuh"

namespace fusebox {

/// S: in, out, weightType, inType, hasBias, biasType, logitsRows, rowTile, warpOutputs, Body (of the sum).
/// args: out [rows, out], in [rows, in], weight [out, in], bias [out] if it has one, the body's other inputs.
/// Grid: (ceil(rows / rowTile), ceil(out / (8 warpOutputs))) blocks of 256 threads.
template <class S> __device__ void linear_any(const Args &launch, const StepView &step) {
  using Body = typename S::Body;
  letNextStart();
  const Args args = arranged<S>(launch);
  waitForInputs();
  const int rows = S::logitsRows ? step.logitsRows : step.tokens, lane = threadIdx.x % 32;
  const int firstRow = blockIdx.x * S::rowTile,
            firstOut = (blockIdx.y * 8 + threadIdx.x / 32) * S::warpOutputs;
  float sum[S::warpOutputs][S::rowTile] = {};
  constexpr bool vectors = S::in % 8 == 0;
  for (int k = lane * 8; k < S::in; k += 256) {
    float w[S::warpOutputs][8];
#pragma unroll
    for (int o = 0; o < S::warpOutputs; ++o) {
      const int out = min(firstOut + o, S::out - 1);
      if constexpr (vectors)
        loadWeights8<S::weightType>(w[o], args.p[2], u64(out) * S::in + k);
      else
#pragma unroll
        for (int e = 0; e < 8; ++e)
          w[o][e] = k + e < S::in ? loadWeight<S::weightType>(args.p[2], u64(out) * S::in + k + e) : 0.f;
    }
#pragma unroll
    for (int r = 0; r < S::rowTile; ++r) {
      const u64 row = u64(min(firstRow + r, rows - 1)) * S::in;
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        const float x = vectors || k + e < S::in ? load<S::inType>(args.p[1], row + k + e) : 0.f;
#pragma unroll
        for (int o = 0; o < S::warpOutputs; ++o)
          sum[o][r] = __fmaf_rn(x, w[o][e], sum[o][r]);
      }
    }
  }
#pragma unroll
  for (int o = 0; o < S::warpOutputs; ++o)
#pragma unroll
    for (int r = 0; r < S::rowTile; ++r) {
      float in[Body::Inputs::count];
      in[0] = warpSum(sum[o][r]);
      const int row = firstRow + r, out = firstOut + o;
      if (lane != 0 || row >= rows || out >= S::out)
        continue;
      if constexpr (S::hasBias)
        in[0] = __fadd_rn(in[0], load<S::biasType>(args.p[3], out));
      const u64 at = u64(row) * S::out + out;
      loadInputs<1>(typename Body::Inputs{}, in, args, S::hasBias ? 4 : 3, at);
      store<Body::result>(args.p[0], at, Body::apply(in));
    }
}

} // namespace fusebox
