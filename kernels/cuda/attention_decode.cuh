// Attention of single tokens over the paged KV cache, bf16, at the speed of memory: for decode, and for steps
// of few tokens. Tensor cores do the products.
//
// Keys and values go from memory straight into fragments. The next block's are requested as soon as the
// registers of the current one's are read, and the first block's before the kernel's input is ready, if they
// lie in the cache from earlier steps. The block that finishes a row's last split joins them.
#pragma once
#include "attention_fragments.cuh"

namespace fusebox {

/// S: as AttentionSplit.
template <class S> struct AttentionDecode : AttentionFragments<S> {
  using Split = AttentionSplit<S>;
  using Fragments = AttentionFragments<S>;
  using Split::args, Split::step, Split::warp, Split::lane, Split::g, Split::t;
  using Split::warps, Split::slots, Split::chunks, Split::mostRows, Split::maxSplits;
  using typename Fragments::Block;
  using typename Split::Cursor, typename Split::Item, typename Split::Running;
  static constexpr int minBlocks = S::headDim <= 64 ? 3 : 2;
  static constexpr u64 record = S::headDim + 2; ///< of a split: maximum, sum, accumulated values

  struct Shared : Split::Spans {
    float weights[8][maxSplits];
    bool last;
  };

  Shared &shared;

  /// Where the keys of the item's next block lie.
  __device__ __forceinline__ const u16 *blockAddress(const Item &item) const {
    const int page = Split::blockPage(item);
    return item.key < item.end ? static_cast<const u16 *>(args.p[2]) +
                                     KvLayout<S>::key(page, item.kvHead, item.key % kvPageTokens)
                               : nullptr;
  }

  __device__ __forceinline__ void loadKeys(Block &block, const u16 *keys) const {
    if (keys)
      Fragments::loadKeys(block, [&](int i) { return streamVector(keys + i); });
  }
  __device__ __forceinline__ void loadValues(Block &block, const u16 *keys, int b, int key,
                                             int position) const {
    if (keys)
      Fragments::loadValues(block, b, key, position,
                            [&](int i) { return streamVector(keys + KvLayout<S>::valueOffset + i); });
  }
  __device__ __forceinline__ void loadBlock(Block &block, const u16 *keys, int key, int position) const {
    loadKeys(block, keys);
    loadValues(block, keys, 0, key, position);
    loadValues(block, keys, 1, key, position);
  }

  static __device__ float *scratch(const Item &item, int head, int split);
  static __device__ u32 *counter(const Item &item);

  /// Joins the warps' spans in order; writes the result, or the split's record.
  __device__ __forceinline__ void joinSpans(const Item &item) const {
    for (int i = threadIdx.x * 2; i < item.headCount * S::headDim; i += blockDim.x * 2) {
      const int head = i / S::headDim, d = i % S::headDim;
      float top, sum;
      const float2 value = Fragments::joinColumns(shared, head, d, top, sum);
      if (item.splits == 1) {
        const u64 at = (u64(item.row) * S::heads + item.firstHead + head) * S::headDim + d;
        *reinterpret_cast<u32 *>(static_cast<u16 *>(args.p[0]) + at) =
            packBf16(__fdividef(value.x, sum), __fdividef(value.y, sum));
        continue;
      }
      float *to = scratch(item, head, item.split - item.firstSplit);
      *reinterpret_cast<float2 *>(to + 2 + d) = value;
      if (d == 0)
        to[0] = top, to[1] = sum;
    }
  }

  /// The weight of each split of a head over the sum of all, in shared memory: a warp a head, lanes over
  /// splits.
  __device__ __forceinline__ void weighSplits(const Item &item) const {
    for (int head = warp; head < item.headCount; head += warps) {
      float maximum[Split::splitRounds], sum[Split::splitRounds];
#pragma unroll
      for (int i = 0; i < Split::splitRounds; ++i) {
        const int split = i * 32 + lane;
        const bool there = split < item.splits;
        maximum[i] = there ? __ldcg(scratch(item, head, split)) : negativeInfinity();
        sum[i] = there ? __ldcg(scratch(item, head, split) + 1) : 0.f;
      }
      Split::splitWeights(maximum, sum);
#pragma unroll
      for (int i = 0; i < Split::splitRounds; ++i)
        shared.weights[head][i * 32 + lane] = maximum[i];
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
    fenceGpu();
    __syncthreads();
    if (threadIdx.x == 0) {
      u32 *arrived = counter(item);
      shared.last = atomicAdd(arrived, 1u) == u32(item.splits - 1);
      if (shared.last)
        *arrived = 0;
    }
    __syncthreads();
    fenceGpu();
    return shared.last;
  }

  __device__ __forceinline__ void run() {
    Split::readRows();
    Cursor here = Split::firstItem();
    Block block;
    bool early = false;
    const u16 *keys = nullptr;
    if (here.there) {
      keys = blockAddress(here.item);
      early = Split::isOld(here.item);
      if (early)
        loadBlock(block, keys, here.item.key, here.item.position);
    }
    waitForInputs();
    if (here.there && !early)
      loadBlock(block, keys, here.item.key, here.item.position);
    while (here.there) {
      Item item = here.item;
      Split::nextItem(here);
      runItem(item, here.item, here.there, block, keys);
    }
  }

  /// Computes an item, whose first block has been requested; requests the first block of `next`.
  __device__ __forceinline__ void runItem(Item &item, const Item &next, bool more, Block &block,
                                          const u16 *&keys) {
    uint4 q[chunks];
    Split::loadQuery(q, item);
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
      Fragments::scores(s, q, block, key, item.position);
      loadKeys(block, keys);
      Split::weigh(run, s, p);
#pragma unroll
      for (int b = 0; b < 2; ++b) {
        Fragments::addValues(run, block.v[b], p[2 * b], p[2 * b + 1]);
        loadValues(block, keys, b, nextKey, position);
      }
    }
    if (!loaded && more) { // an empty span
      keys = blockAddress(next);
      loadBlock(block, keys, next.key, next.position);
    }
    Fragments::storeSpan(shared, run);
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
  AttentionDecode<S>{{args, step}, shared}.run();
}

} // namespace fusebox
