// Attention of single tokens over the paged KV cache, bf16, at the speed of memory: for decode, and for steps
// of few tokens. Tensor cores do the products; keys and values go from memory straight into fragments.
//
// The context is cut at absolute positions: into splits of S::splitTokens, a split into 4 equal spans, one a
// warp, a span into blocks of 32 keys. Scores are f32; within a span a running maximum, exp(s - max) rounded
// to bf16 before the product with V, sums in f32; spans, then splits are joined in ascending order and the
// quotient is rounded once. So the bits depend on the position alone: not on the batch, the grid or the run.
//
// The work items (token, kv head, 8 of its query heads, split) are dealt to a grid of any size, so a captured
// graph serves every length. The block that finishes a row's last split joins them (scratch, counters).
#pragma once
#include "base.cuh"
#include "kv_cache.cuh"

namespace fusebox {

/// S: heads, kvHeads, headDim (64, 128, 192 or 256), type (bf16), scale, window (0: none), softcap (0: none),
/// splitTokens (a multiple of 128), maxSplits.
/// args: out [tokens, heads * headDim], q, kv pool of the layer, scratch [tokens, heads, maxSplits, headDim +
/// 2] f32, counters [tokens, kvHeads * headGroups] u32, zero before and after.
template <class S> struct AttentionDecode {
  static constexpr int warps = 4, groupHeads = S::heads / S::kvHeads, headGroups = divideUp(groupHeads, 8);
  static constexpr int halves = S::headDim / 64, chunks = S::headDim / 32, span = S::splitTokens / warps;
  static constexpr int minBlocks = S::headDim <= 64 ? 3 : S::headDim <= 128 ? 2 : 1;
  static constexpr u64 record = S::headDim + 2; ///< of a split: maximum, sum, accumulated values
  static_assert(S::headDim % 64 == 0 && S::splitTokens % (32 * warps) == 0);

  struct Shared {
    float values[warps][8][S::headDim];
    float maximum[warps][8], sum[warps][8];
    bool last;
  };

  /// The first key a token may see.
  static __device__ __forceinline__ int firstKey(int position) {
    return S::window > 0 ? max(0, position + 1 - S::window) : 0;
  }

  const Args &args;
  const StepView &step;
  Shared &shared;
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  int row, position, kvHead, firstHead, headCount; // of the item at hand

  struct Running {
    float maximum = negativeInfinity(), sum = 0.f; // of head g
    float values[halves * 4][4] = {};              // heads 2t, 2t+1; d = 64 h + 8 g + j, then + 4
  };

  __device__ __forceinline__ void loadKeys(uint4 (&k)[4][chunks], const u16 *keys) const {
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int c = 0; c < chunks; ++c)
        k[n][c] = streamVector(keys + u64(n * 8 + g) * S::headDim + c * 32 + t * 8);
  }

  /// Values of keys 2t, 2t+1, 2t+8, 2t+9 of a half block of 16; keys that the token does not see read as 0.
  __device__ __forceinline__ void loadValues(uint4 (&v)[4][halves], const u16 *values, int key) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int at = 2 * t + (i & 1) + (i >> 1) * 8;
#pragma unroll
      for (int h = 0; h < halves; ++h)
        v[i][h] = key + at <= position ? streamVector(values + u64(at) * S::headDim + h * 64 + g * 8)
                                       : uint4{0, 0, 0, 0};
    }
  }

  /// One block of 32 keys that starts at `key`, all of one page.
  __device__ __forceinline__ void block(Running &run, const uint4 (&q)[chunks], const u16 *keys,
                                        int key) const {
    constexpr bool early = halves <= 2; // as far as registers reach, values are requested with the keys
    uint4 k[4][chunks], v[2][4][halves];
    loadKeys(k, keys);
    const u16 *values = keys + KvLayout<S>::valueOffset;
    if constexpr (early)
#pragma unroll
      for (int b = 0; b < 2; ++b)
        loadValues(v[b], values + 16 * b * S::headDim, key + 16 * b);

    float s[4][4] = {};
#pragma unroll
    for (int c = 0; c < chunks; ++c)
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        mma(s[n], q[c].x, 0u, q[c].y, 0u, k[n][c].x, k[n][c].y);
        mma(s[n], q[c].z, 0u, q[c].w, 0u, k[n][c].z, k[n][c].w);
      }
    float top = run.maximum;
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int at = key + n * 8 + 2 * t + i;
        float score = __fmul_rn(s[n][i], S::scale);
        if constexpr (S::softcap > 0.f)
          score = S::softcap * tanhf(score / S::softcap);
        s[n][i] = at <= position && at >= firstKey(position) ? score : negativeInfinity();
        top = fmaxf(top, s[n][i]);
      }
    top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
    top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
    const float base = top == negativeInfinity() ? 0.f : top, shrink = __expf(run.maximum - base);
    run.maximum = top;
    run.sum *= shrink;
    u32 p[4];
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const float e0 = __expf(s[n][0] - base), e1 = __expf(s[n][1] - base);
      run.sum += e0 + e1;
      p[n] = packBf16(e0, e1);
    }
    const float shrink0 = __shfl_sync(0xffffffffu, shrink, 8 * t),
                shrink1 = __shfl_sync(0xffffffffu, shrink, 8 * t + 4);
#pragma unroll
    for (int j = 0; j < halves * 4; ++j) {
      run.values[j][0] *= shrink0, run.values[j][1] *= shrink1;
      run.values[j][2] *= shrink0, run.values[j][3] *= shrink1;
    }
#pragma unroll
    for (int b = 0; b < 2; ++b) {
      if constexpr (!early)
        loadValues(v[b], values + 16 * b * S::headDim, key + 16 * b);
      addValues(run, v[b], p[2 * b], p[2 * b + 1]);
    }
  }

  /// values += V^T P for 16 keys.
  __device__ __forceinline__ void addValues(Running &run, const uint4 (&v)[4][halves], u32 p0, u32 p1) const {
#pragma unroll
    for (int h = 0; h < halves; ++h) {
      u32 w[4][4];
#pragma unroll
      for (int i = 0; i < 4; ++i)
        w[i][0] = v[i][h].x, w[i][1] = v[i][h].y, w[i][2] = v[i][h].z, w[i][3] = v[i][h].w;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const u32 pick = j % 2 ? 0x7632u : 0x5410u;
        mma(run.values[h * 4 + j], __byte_perm(w[0][j / 2], w[1][j / 2], pick),
            __byte_perm(w[0][2 + j / 2], w[1][2 + j / 2], pick), __byte_perm(w[2][j / 2], w[3][j / 2], pick),
            __byte_perm(w[2][2 + j / 2], w[3][2 + j / 2], pick), p0, p1);
      }
    }
  }

  /// This warp's span of a split, left in shared memory.
  __device__ __forceinline__ void runSpan(int split) const {
    uint4 q[chunks];
    const u16 *query =
        static_cast<const u16 *>(args.p[1]) + (u64(row) * S::heads + firstHead + g) * S::headDim;
#pragma unroll
    for (int c = 0; c < chunks; ++c)
      q[c] = g < headCount ? loadVector(query + c * 32 + t * 8) : uint4{0, 0, 0, 0};
    Running run;
    const int begin = split * S::splitTokens + warp * span, end = min(begin + span, position + 1);
    for (int key = begin; key < end; key += 32) {
      if (key + 32 <= firstKey(position))
        continue;
      const u64 at = KvLayout<S>::key(pageOf(step, row, key), kvHead, key % kvPageTokens);
      block(run, q, static_cast<const u16 *>(args.p[2]) + at, key);
    }
    run.sum += __shfl_xor_sync(0xffffffffu, run.sum, 1);
    run.sum += __shfl_xor_sync(0xffffffffu, run.sum, 2);
    if (t == 0)
      shared.maximum[warp][g] = run.maximum, shared.sum[warp][g] = run.sum;
#pragma unroll
    for (int j = 0; j < halves * 4; ++j) {
      const int d = j / 4 * 64 + g * 8 + j % 4;
      shared.values[warp][2 * t][d] = run.values[j][0], shared.values[warp][2 * t + 1][d] = run.values[j][1];
      shared.values[warp][2 * t][d + 4] = run.values[j][2],
                                     shared.values[warp][2 * t + 1][d + 4] = run.values[j][3];
    }
  }

  __device__ __forceinline__ float *scratch(int head, int split) const {
    return static_cast<float *>(args.p[3]) +
           ((u64(row) * S::heads + firstHead + head) * S::maxSplits + split) * record;
  }

  /// Joins the warps' spans in order; writes the result, or the split's record.
  __device__ __forceinline__ void joinSpans(int split, bool only) const {
    for (int i = threadIdx.x; i < headCount * S::headDim; i += blockDim.x) {
      const int head = i / S::headDim, d = i % S::headDim;
      float top = shared.maximum[0][head], sum = 0.f, value = 0.f;
#pragma unroll
      for (int w = 1; w < warps; ++w)
        top = fmaxf(top, shared.maximum[w][head]);
#pragma unroll
      for (int w = 0; w < warps; ++w) {
        const float weight =
            shared.maximum[w][head] == negativeInfinity() ? 0.f : __expf(shared.maximum[w][head] - top);
        sum = __fmaf_rn(shared.sum[w][head], weight, sum);
        value = __fmaf_rn(shared.values[w][head][d], weight, value);
      }
      if (only) {
        store<S::type>(args.p[0], (u64(row) * S::heads + firstHead + head) * S::headDim + d,
                       __fdividef(value, sum));
        continue;
      }
      float *to = scratch(head, split);
      to[2 + d] = value;
      if (d == 0)
        to[0] = top, to[1] = sum;
    }
  }

  /// Joins the records of splits [first, last] in order and writes the result.
  __device__ __forceinline__ void joinSplits(int first, int last) const {
    for (int i = threadIdx.x; i < headCount * S::headDim; i += blockDim.x) {
      const int head = i / S::headDim, d = i % S::headDim;
      float top = negativeInfinity(), sum = 0.f, value = 0.f;
      for (int split = first; split <= last; ++split)
        top = fmaxf(top, __ldcg(scratch(head, split)));
      for (int split = first; split <= last; ++split) {
        const float *from = scratch(head, split);
        const float maximum = __ldcg(from),
                    weight = maximum == negativeInfinity() ? 0.f : __expf(maximum - top);
        sum = __fmaf_rn(__ldcg(from + 1), weight, sum);
        value = __fmaf_rn(__ldcg(from + 2 + d), weight, value);
      }
      store<S::type>(args.p[0], (u64(row) * S::heads + firstHead + head) * S::headDim + d,
                     __fdividef(value, sum));
    }
  }

  /// Whether this block is the last of the `count` that finish a row's splits; it sees what they wrote.
  __device__ __forceinline__ bool arrivesLast(int slot, int count) const {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
      u32 *counter = static_cast<u32 *>(args.p[4]) + slot;
      shared.last = atomicAdd(counter, 1u) == u32(count - 1);
      if (shared.last)
        *counter = 0;
    }
    __syncthreads();
    __threadfence();
    return shared.last;
  }

  /// Item `item` of the current row: its kv head, head group and split.
  __device__ __forceinline__ void runItem(int item, int firstSplit, int splits) {
    constexpr int slots = S::kvHeads * headGroups;
    const int slot = item % slots, split = firstSplit + item / slots;
    kvHead = slot / headGroups;
    firstHead = kvHead * groupHeads + slot % headGroups * 8;
    headCount = min(8, groupHeads - slot % headGroups * 8);
    runSpan(split);
    __syncthreads();
    joinSpans(split, splits == 1);
    if (splits > 1 && arrivesLast(row * slots + slot, splits))
      joinSplits(firstSplit, firstSplit + splits - 1);
    __syncthreads();
  }

  __device__ __forceinline__ void run() {
    constexpr int slots = S::kvHeads * headGroups;
    int item = blockIdx.x; // relative to the current row
    for (row = 0; row < step.tokens; ++row) {
      position = __ldcg(step.position + row);
      if (position < 0)
        continue;
      const int firstSplit = firstKey(position) / S::splitTokens,
                splits = position / S::splitTokens - firstSplit + 1;
      for (; item < slots * splits; item += gridDim.x)
        runItem(item, firstSplit, splits);
      item -= slots * splits;
    }
  }
};

/// Grid: any number of blocks of 128 threads.
template <class S> __device__ void attention_decode(const Args &args, const StepView &step) {
  __shared__ typename AttentionDecode<S>::Shared shared;
  letNextStart();
  waitForInputs();
  AttentionDecode<S>{args, step, shared}.run();
}

} // namespace fusebox
