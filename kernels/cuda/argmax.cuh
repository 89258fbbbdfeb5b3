// The most likely token of each row of logits; of equal logits the lowest id wins.
#pragma once
#include "base.cuh"

namespace fusebox {

/// A logit and its id as one ordered number: larger logits first, then lower ids. A NaN never wins.
__device__ __forceinline__ u64 rankOf(float logit, u32 id) {
  const u32 bits = __float_as_uint(logit);
  const u32 order = logit != logit ? 0u : bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return u64(order) << 32 | (0xffffffffu - id);
}

/// S: vocabulary, blocks. args: out ids [rows] i32, logits [rows, vocabulary] f32, best [rows] u64 and
/// arrived [rows] u32, both zero before and after. Grid: (S::blocks, rows) blocks of 256 threads.
template <class S> __device__ void argmax(const Args &args, const StepView &step) {
  __shared__ u64 tops[8];
  letNextStart();
  waitForInputs();
  const int row = blockIdx.y;
  u64 top = 0;
  for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < S::vocabulary; i += blockDim.x * gridDim.x)
    top = max(top, rankOf(load<dtF32>(args.p[1], u64(row) * S::vocabulary + i), i));
#pragma unroll
  for (int o = 16; o; o /= 2)
    top = max(top, __shfl_xor_sync(0xffffffffu, top, o));
  if (threadIdx.x % 32 == 0)
    tops[threadIdx.x / 32] = top;
  __syncthreads();
  if (threadIdx.x)
    return;
  for (int w = 1; w < 8; ++w)
    top = max(top, tops[w]);
  u64 *best = static_cast<u64 *>(args.p[2]) + row;
  u32 *arrived = static_cast<u32 *>(args.p[3]) + row;
  atomicMax(best, top);
  __threadfence();
  if (atomicAdd(arrived, 1u) != gridDim.x - 1)
    return;
  __threadfence();
  static_cast<int *>(args.p[0])[row] = int(0xffffffffu - u32(atomicExch(best, 0ull)));
  *arrived = 0;
}

} // namespace fusebox
