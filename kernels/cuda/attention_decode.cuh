// Attention of single tokens over the paged KV cache, bf16, at the speed of memory: for decode, and for steps
// of few tokens. Tensor cores do the products; keys and values go from memory straight into fragments.
//
// The context is cut at absolute positions: into splits, a split into 4 equal spans, one a warp, a span into
// blocks of 32 keys. Scores are f32; within a span a running maximum, exp(s - max) rounded to bf16 before the
// product with V, sums in f32; spans, then splits are joined in a fixed order and the quotient is rounded
// once. So the bits depend on the position alone: not on the batch, the grid or the run.
//
// The work items (token, kv head, 8 of its query heads, split) are dealt to a grid of any size, so a captured
// graph serves every length. The next block's keys and values are requested as soon as the registers of the
// current one's are read, and the first block's before the kernel's input is ready, if they lie in the cache
// from earlier steps. The block that finishes a row's last split joins them.
#pragma once
#include "base.cuh"
#include "kv_cache.cuh"

namespace fusebox {

/// S: heads, kvHeads, headDim (64 or 128), type (bf16), scale, window (0: none), softcap (0: none).
/// args: out [tokens, heads * headDim], q, kv pool of the layer. At most 16 tokens.
template <class S> struct AttentionDecode {
  static constexpr int warps = 4, groupHeads = S::heads / S::kvHeads, headGroups = divideUp(groupHeads, 8);
  static constexpr int slots = S::kvHeads * headGroups;
  static constexpr int halves = S::headDim / 64, chunks = S::headDim / 32;
  static constexpr int minBlocks = S::headDim <= 64 ? 3 : 2;
  static constexpr int mostRows = 16, maxSplits = 64;
  static constexpr u64 record = S::headDim + 2; ///< of a split: maximum, sum, accumulated values
  static_assert(S::headDim == 64 || S::headDim == 128,
                "registers hold the keys and values of no larger head");

  struct Shared {
    float values[warps][8][S::headDim];
    float maximum[warps][8], sum[warps][8];
    float weights[8][maxSplits];
    bool last;
  };

  /// The first key a token may see.
  static __device__ __forceinline__ int firstKey(int position) {
    return S::window > 0 ? max(0, position + 1 - S::window) : 0;
  }
  /// Tokens of a split: 128 up to 8,192 tokens, then what makes maxSplits of them.
  static __device__ __forceinline__ int splitTokens(int position) {
    return divideUp(divideUp(position + 1, maxSplits), 32 * warps) * 32 * warps;
  }

  /// One item of work, as this warp sees it.
  struct Item {
    int row, position, kvHead, firstHead, headCount, slot;
    int split, firstSplit, splits;
    int key, end; ///< the next block of this warp's span starts at key; none if key >= end
  };

  const Args &args;
  const StepView &step;
  Shared &shared;
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  int rowPosition, rowSequence; ///< of row `lane`

  struct Running {
    float maximum = negativeInfinity(), sum = 0.f; // of head g
    float values[halves * 4][4] = {};              // heads 2t, 2t+1; d = 64 h + 8 g + j, then + 4
  };
  struct Block {
    uint4 k[4][chunks], v[2][4][halves];
  };

  /// Item `index` of row `row` and those that follow, or false behind the last. Leaves both at the item.
  __device__ __forceinline__ bool findItem(Item &item, int &row, int &index) const {
    for (; row < step.tokens; ++row) {
      item.position = __shfl_sync(0xffffffffu, rowPosition, row);
      if (item.position < 0)
        continue;
      const int tokens = splitTokens(item.position);
      item.firstSplit = firstKey(item.position) / tokens;
      item.splits = item.position / tokens - item.firstSplit + 1;
      if (index >= slots * item.splits) {
        index -= slots * item.splits;
        continue;
      }
      item.row = row, item.slot = index % slots, item.split = item.firstSplit + index / slots;
      item.kvHead = item.slot / headGroups;
      item.firstHead = item.kvHead * groupHeads + item.slot % headGroups * 8;
      item.headCount = min(8, groupHeads - item.slot % headGroups * 8);
      const int span = tokens / warps, begin = item.split * tokens + warp * span;
      item.key = max(begin, firstKey(item.position) / 32 * 32);
      item.end = min(begin + span, item.position + 1);
      return true;
    }
    return false;
  }

  /// Where the keys of the item's next block lie.
  __device__ __forceinline__ const u16 *blockAddress(const Item &item) const {
    const int sequence = __shfl_sync(0xffffffffu, rowSequence, item.row);
    if (item.key >= item.end)
      return nullptr;
    const int page = __ldg(step.blockTable + u64(sequence) * step.maxPages + item.key / kvPageTokens);
    return static_cast<const u16 *>(args.p[2]) + KvLayout<S>::key(page, item.kvHead, item.key % kvPageTokens);
  }

  __device__ __forceinline__ void loadKeys(Block &block, const u16 *keys) const {
    if (!keys)
      return;
#pragma unroll
    for (int c = 0; c < chunks; ++c)
#pragma unroll
      for (int n = 0; n < 4; ++n)
        block.k[n][c] =
            streamVector(keys + u64(n * 8 + g) * S::headDim + KvLayout<S>::column(g, c * 32 + t * 8));
  }

  /// Values of keys 2t, 2t+1, 2t+8, 2t+9 of half block b; keys that the token does not see read as 0.
  __device__ __forceinline__ void loadValues(Block &block, const u16 *keys, int b, int key,
                                             int position) const {
    if (!keys)
      return;
    const u16 *values = keys + KvLayout<S>::valueOffset + 16 * b * S::headDim;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int at = 2 * t + (i & 1) + (i >> 1) * 8;
#pragma unroll
      for (int h = 0; h < halves; ++h)
        block.v[b][i][h] =
            key + 16 * b + at <= position
                ? streamVector(values + u64(at) * S::headDim + KvLayout<S>::column(at, h * 64 + g * 8))
                : uint4{0, 0, 0, 0};
    }
  }

  __device__ __forceinline__ void loadBlock(Block &block, const u16 *keys, int key, int position) const {
    loadKeys(block, keys);
    loadValues(block, keys, 0, key, position);
    loadValues(block, keys, 1, key, position);
  }

  /// Scores of a block's 32 keys: scaled, capped, masked.
  __device__ __forceinline__ void scores(float (&s)[4][4], const uint4 (&q)[chunks], const Block &block,
                                         int key, int position) const {
#pragma unroll
    for (int c = 0; c < chunks; ++c)
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        mma(s[n], q[c].x, 0u, q[c].y, 0u, block.k[n][c].x, block.k[n][c].y);
        mma(s[n], q[c].z, 0u, q[c].w, 0u, block.k[n][c].z, block.k[n][c].w);
      }
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int at = key + n * 8 + 2 * t + i;
        float score = __fmul_rn(s[n][i], S::scale);
        if constexpr (S::softcap > 0.f)
          score = S::softcap * tanhf(score / S::softcap);
        s[n][i] = at <= position && at >= firstKey(position) ? score : negativeInfinity();
      }
  }

  /// Scores to weights, rounded; the running maximum, sum and values follow.
  __device__ __forceinline__ void weigh(Running &run, const float (&s)[4][4], u32 (&p)[4]) const {
    float top = run.maximum;
#pragma unroll
    for (int n = 0; n < 4; ++n)
      top = fmaxf(top, fmaxf(s[n][0], s[n][1]));
    top = quadMax(top);
    const float base = top == negativeInfinity() ? 0.f : top, shrink = __expf(run.maximum - base);
    run.maximum = top;
    run.sum *= shrink;
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

  /// Leaves this warp's span in shared memory.
  __device__ __forceinline__ void storeSpan(Running &run) const {
    run.sum = quadSum(run.sum);
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

  static __device__ float *scratch(const Item &item, int head, int split);
  static __device__ u32 *counter(const Item &item);

  /// Joins the warps' spans in order; writes the result, or the split's record.
  __device__ __forceinline__ void joinSpans(const Item &item) const {
    for (int i = threadIdx.x; i < item.headCount * S::headDim; i += blockDim.x) {
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
      if (item.splits == 1) {
        store<S::type>(args.p[0], (u64(item.row) * S::heads + item.firstHead + head) * S::headDim + d,
                       __fdividef(value, sum));
        continue;
      }
      float *to = scratch(item, head, item.split - item.firstSplit);
      to[2 + d] = value;
      if (d == 0)
        to[0] = top, to[1] = sum;
    }
  }

  /// The weight of each split of a head over the sum of all, in shared memory: a warp a head, lanes over
  /// splits.
  __device__ __forceinline__ void weighSplits(const Item &item) const {
    for (int head = warp; head < item.headCount; head += warps) {
      float maximum[maxSplits / 32], sum[maxSplits / 32], top = negativeInfinity(), total = 0.f;
#pragma unroll
      for (int i = 0; i < maxSplits / 32; ++i) {
        const int split = i * 32 + threadIdx.x % 32;
        const bool there = split < item.splits;
        maximum[i] = there ? __ldcg(scratch(item, head, split)) : negativeInfinity();
        sum[i] = there ? __ldcg(scratch(item, head, split) + 1) : 0.f;
        top = fmaxf(top, maximum[i]);
      }
#pragma unroll
      for (int o = 16; o; o /= 2)
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, o));
#pragma unroll
      for (int i = 0; i < maxSplits / 32; ++i) {
        maximum[i] = maximum[i] == negativeInfinity() ? 0.f : __expf(maximum[i] - top);
        total = __fmaf_rn(sum[i], maximum[i], total);
      }
      total = warpSum(total);
#pragma unroll
      for (int i = 0; i < maxSplits / 32; ++i)
        shared.weights[head][i * 32 + threadIdx.x % 32] = __fdividef(maximum[i], total);
    }
    __syncthreads();
  }

  /// Joins the records of all splits in order and writes the result.
  __device__ __forceinline__ void joinSplits(const Item &item) const {
    weighSplits(item);
    for (int i = threadIdx.x * 2; i < item.headCount * S::headDim; i += blockDim.x * 2) {
      const int head = i / S::headDim, d = i % S::headDim;
      const float *from = scratch(item, head, 0) + 2 + d;
      float x = 0.f, y = 0.f;
      constexpr int together = 16; // loads, before the first is used
#pragma unroll 1
      for (int split = 0; split < item.splits; split += together) {
        float2 value[together];
#pragma unroll
        for (int j = 0; j < together; ++j)
          value[j] = split + j < item.splits
                         ? __ldcg(reinterpret_cast<const float2 *>(from + (split + j) * record))
                         : float2{0.f, 0.f};
#pragma unroll
        for (int j = 0; j < together; ++j) {
          x = __fmaf_rn(value[j].x, shared.weights[head][split + j], x);
          y = __fmaf_rn(value[j].y, shared.weights[head][split + j], y);
        }
      }
      const u64 at = (u64(item.row) * S::heads + item.firstHead + head) * S::headDim + d;
      store<S::type>(args.p[0], at, x);
      store<S::type>(args.p[0], at + 1, y);
    }
  }

  /// Whether this block is the last that finishes one of the row's splits; it sees what the others wrote.
  __device__ __forceinline__ bool arrivesLast(const Item &item) const {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
      u32 *arrived = counter(item);
      shared.last = atomicAdd(arrived, 1u) == u32(item.splits - 1);
      if (shared.last)
        *arrived = 0;
    }
    __syncthreads();
    __threadfence();
    return shared.last;
  }

  /// Positions and sequences of the rows, a lane each. Steps are on the device before the first kernel
  /// starts, so this does not wait for the kernel's input.
  __device__ __forceinline__ void readRows() {
    const int lane = threadIdx.x % 32;
    rowPosition = lane < step.tokens ? __ldg(step.position + lane) : -1;
    rowSequence = lane < step.tokens ? __ldg(step.tokenSequence + lane) : 0;
  }

  /// Whether the item's next block was in the cache before this step.
  __device__ __forceinline__ bool isOld(const Item &item) const {
    const int sequence = __shfl_sync(0xffffffffu, rowSequence, item.row);
    const int first = __shfl_sync(0xffffffffu, rowPosition, __ldg(step.sequenceStart + sequence));
    return item.key + 32 <= first;
  }

  __device__ __forceinline__ void run() {
    readRows();
    int row = 0, index = blockIdx.x;
    Item item;
    Block block;
    bool there = findItem(item, row, index), early = false;
    const u16 *keys = nullptr;
    if (there) {
      keys = blockAddress(item);
      early = isOld(item);
      if (early)
        loadBlock(block, keys, item.key, item.position);
    }
    waitForInputs();
    if (there && !early)
      loadBlock(block, keys, item.key, item.position);
    while (there) {
      Item next;
      index += gridDim.x;
      const bool more = findItem(next, row, index);
      runItem(item, next, more, block, keys);
      item = next;
      there = more;
    }
  }

  /// Computes an item, whose first block has been requested; requests the first block of `next`.
  __device__ __forceinline__ void runItem(Item &item, const Item &next, bool more, Block &block,
                                          const u16 *&keys) {
    uint4 q[chunks];
    const u16 *query =
        static_cast<const u16 *>(args.p[1]) + (u64(item.row) * S::heads + item.firstHead + g) * S::headDim;
#pragma unroll
    for (int c = 0; c < chunks; ++c)
      q[c] = g < item.headCount ? loadVector(query + c * 32 + t * 8) : uint4{0, 0, 0, 0};
    Running run;
    bool loaded = false; ///< the next item's block
    while (item.key < item.end) {
      const int key = item.key;
      item.key += 32;
      loaded = item.key >= item.end;
      int position = item.position, nextKey = item.key;
      if (!loaded) {
        keys = blockAddress(item);
      } else {
        keys = more ? blockAddress(next) : nullptr;
        position = next.position, nextKey = next.key;
      }
      float s[4][4] = {};
      u32 p[4];
      scores(s, q, block, key, item.position);
      loadKeys(block, keys);
      weigh(run, s, p);
#pragma unroll
      for (int b = 0; b < 2; ++b) {
        addValues(run, block.v[b], p[2 * b], p[2 * b + 1]);
        loadValues(block, keys, b, nextKey, position);
      }
    }
    if (!loaded && more) { // an empty span
      keys = blockAddress(next);
      loadBlock(block, keys, next.key, next.position);
    }
    storeSpan(run);
    __syncthreads();
    joinSpans(item);
    if (item.splits > 1 && arrivesLast(item))
      joinSplits(item);
    __syncthreads();
  }
};

/// Records of splits, and how many of a row's are done: zero before and after every launch.
template <class S>
__device__ float decodeScratch[u64(AttentionDecode<S>::mostRows) * S::heads * AttentionDecode<S>::maxSplits *
                               AttentionDecode<S>::record];
template <class S> __device__ u32 decodeCounters[AttentionDecode<S>::mostRows * AttentionDecode<S>::slots];

template <class S>
__device__ __forceinline__ float *AttentionDecode<S>::scratch(const Item &item, int head, int split) {
  return decodeScratch<S> + ((u64(item.row) * S::heads + item.firstHead + head) * maxSplits + split) * record;
}
template <class S> __device__ __forceinline__ u32 *AttentionDecode<S>::counter(const Item &item) {
  return decodeCounters<S> + item.row * slots + item.slot;
}

/// Grid: any number of blocks of 128 threads.
template <class S> __device__ void attention_decode(const Args &args, const StepView &step) {
  __shared__ typename AttentionDecode<S>::Shared shared;
  letNextStart();
  AttentionDecode<S>{args, step, shared}.run();
}

} // namespace fusebox
