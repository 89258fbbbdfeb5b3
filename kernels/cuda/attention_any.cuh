// Attention over the paged KV cache for every type and head size, on the plain units: a block a token and
// head. Key blocks of 64 at absolute positions, scores in f32, a running maximum, exp(s - max) rounded to the
// type before the product with V, one division and one rounding at the end: the contract's rounding points.
#pragma once
#include "base.cuh"
#include "kv_cache.cuh"

namespace fusebox {

/// S: heads, kvHeads, headDim (at most 512), type, scale, window (0: none), softcap (0: none). args: out
/// [tokens, heads * headDim], q, kv pool of the layer. Grid: (tokens, heads) blocks of 128 threads.
template <class S> __device__ void attention_any(const Args &args, const StepView &step) {
  __shared__ float query[S::headDim], weights[kvPageTokens];
  letNextStart();
  waitForInputs();
  const int row = blockIdx.x, head = blockIdx.y, kvHead = head / (S::heads / S::kvHeads);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, position = __ldcg(step.position + row);
  if (position < 0)
    return;
  constexpr int perThread = divideUp(S::headDim, 128);
  const u64 at = (u64(row) * S::heads + head) * S::headDim;
  for (int d = threadIdx.x; d < S::headDim; d += 128)
    query[d] = load<S::type>(args.p[1], at + d);
  float maximum = negativeInfinity(), sum = 0.f, value[perThread] = {};
  const int first = S::window > 0 ? max(0, position + 1 - S::window) : 0;
  for (int begin = first / kvPageTokens * kvPageTokens; begin <= position; begin += kvPageTokens) {
    const u64 keys = KvLayout<S>::key(pageOf(step, row, begin), kvHead, 0);
    __syncthreads();
    for (int n = warp; n < kvPageTokens; n += 4) {
      float score = 0.f;
      for (int d = lane; d < S::headDim && begin + n <= position; d += 32)
        score = __fmaf_rn(query[d],
                          load<S::type>(args.p[2], keys + u64(n) * S::headDim + KvLayout<S>::column(n, d)),
                          score);
      score = __fmul_rn(warpSum(score), S::scale);
      if constexpr (S::softcap > 0.f)
        score = S::softcap * tanhf(score / S::softcap);
      if (lane == 0)
        weights[n] = begin + n <= position && begin + n >= first ? score : negativeInfinity();
    }
    __syncthreads();
    float top = maximum;
    for (int n = 0; n < kvPageTokens; ++n)
      top = fmaxf(top, weights[n]);
    const float shrink = expf(maximum - top);
    maximum = top;
    sum *= shrink;
#pragma unroll
    for (int i = 0; i < perThread; ++i)
      value[i] *= shrink;
    for (int n = 0; n < min(kvPageTokens, position + 1 - begin); ++n) {
      const float weight = expf(weights[n] - top), rounded = roundTo<S::type>(weight);
      sum += weight;
#pragma unroll
      for (int i = 0; i < perThread; ++i)
        if (const int d = threadIdx.x + i * 128; d < S::headDim)
          value[i] = __fmaf_rn(rounded,
                               load<S::type>(args.p[2], keys + KvLayout<S>::valueOffset +
                                                            u64(n) * S::headDim + KvLayout<S>::column(n, d)),
                               value[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < perThread; ++i)
    if (const int d = threadIdx.x + i * 128; d < S::headDim)
      store<S::type>(args.p[0], at + d, __fdiv_rn(value[i], sum));
}

} // namespace fusebox
