// Attention of one token within decode_loop: per-head norm, rotation and KV write, then the work items of
// attention_split.cuh, dealt to halves of blocks, four warps each, and the join of splits. The bits are those
// of prepare_heads and attention_decode.
#pragma once
#include "attention_fragments.cuh"
#include "decode_loop_ring.cuh"
#include "exchange.cuh"
#include "heads_vectors.cuh"

namespace fusebox {

/// S: as DecodeLoop.
template <class S> struct LoopAttention {
  using Shape = typename S::Part2;
  using Heads = typename S::Part1;
  /// A warp takes a head, so that it is ready soon.
  static constexpr int laneColumns = Heads::headDim / 32, words = laneColumns / 2;
  using Prepare = PrepareHeadVectors<Heads, laneColumns>;
  /// Few heads an item: there are blocks enough, and each ends sooner.
  using Fragments = AttentionFragments<Shape, 2>;
  using Split = typename Fragments::Split;
  using Item = typename Split::Item;
  static constexpr int headDim = Shape::headDim, columns = Shape::heads * headDim, threads = 128,
                       held = Split::heldHeads, maxSplits = Split::maxSplits, record = headDim + 2;
  static_assert(held + 2 <= 4, "a warp for each query, the key and the value");
  static_assert(Prepare::fits && Heads::type == dtBF16 && Shape::type == dtBF16 &&
                    (!Heads::norm || Heads::gainType == dtBF16),
                "heads of 64 or 128 columns");

  struct Shared : Split::Spans {
    __align__(16) u16 query[held][headDim], key[headDim], value[headDim];
    __align__(16) u16 gains[2][headDim]; ///< of the norms of q and k
    __align__(16) float angles[headDim]; ///< cosines, sines
    float weights[4][maxSplits];
  };

  Shared &shared; ///< of this group
  const StepView &step;
  const int position, splits;  ///< of the token
  const int first;             ///< of this group's work items, and of the heads whose splits it joins
  const int group, warp, lane; ///< in the block, the group, the warp

  __device__ __forceinline__ void barrier() const {
    asm volatile("bar.sync %0, %1;" ::"r"(2 + group), "n"(threads) : "memory");
  }

  __device__ __forceinline__ int thread() const { return warp * 32 + lane; }

  /// Where an attention of a layer finds and leaves its values.
  struct Layer {
    const u32 *qkv;    ///< q, k, v: pairs, exchanged
    u32 *out, *other;  ///< pairs of this step, and their places of the next
    void *const *pool; ///< where its address lies
    u32 number;        ///< of this exchange of split records
  };

  //===-- Heads ---===//

  /// What does not change from layer to layer. Once in a step, before run().
  __device__ __forceinline__ void begin(const void *angles) const {
    const int i = thread();
    if (i < headDim)
      shared.angles[i] = load<Heads::anglesType>(angles, i);
  }

  /// Requests the gains that a layer's items need; they are there behind awaitGains() and a barrier.
  __device__ __forceinline__ void prefetch(const void *gainQ, const void *gainK) const {
    constexpr int vectors = headDim / 8;
    const int i = thread();
    if (first >= items())
      return;
    if (Heads::norm && i < 2 * vectors) {
      const bool isQ = i < vectors;
      copyAsync<16>(sharedAddress(shared.gains[!isQ] + i % vectors * 8),
                    static_cast<const u8 *>(isQ ? gainQ : gainK) + i % vectors * 16);
    }
    commitCopies();
  }
  __device__ __forceinline__ void awaitGains() const { waitCopies<0>(); }

  /// Items of the step.
  __device__ __forceinline__ int items() const { return Split::slots * splits; }
  /// Blocks of 32 keys of a warp's span.
  __device__ __forceinline__ int spanBlocks() const { return Split::splitTokens(position) / 128; }

  /// Item `index` as warp `warp` of its group sees it.
  __device__ __forceinline__ Item itemAt(const Fragments &fragments, int index) const {
    Item item;
    item.row = 0, item.position = position, item.splits = splits;
    item.firstSplit = Split::firstSplit(position);
    fragments.placeItem(item, index, Split::splitTokens(position));
    return item;
  }

  /// The head, among those of q, k and v, that this warp prepares for an item: a query's, or if the item sees
  /// the token's own key and value one of theirs. None: -1.
  __device__ __forceinline__ int ownHead(const Item &item, bool isNewest) const {
    const int behind = warp - item.headCount;
    return behind < 0               ? item.firstHead + warp
           : isNewest && behind < 2 ? Heads::heads + behind * Heads::kvHeads + item.kvHead
                                    : -1;
  }
  __device__ __forceinline__ const u32 *wordsOf(const Layer &layer, int head) const {
    return layer.qkv + (head * headDim + lane * laneColumns) / 2;
  }

  /// Norm and rotation of a head of q or k.
  __device__ __forceinline__ void turn(u32 (&pairs)[words], bool isKey) const {
    const int column = lane * laneColumns,
              angle = Heads::interleaved ? column / 2 : lane % (Prepare::lanes / 2) * laneColumns;
    float v[laneColumns], cosine[laneColumns], sine[laneColumns];
#pragma unroll
    for (int i = 0; i < words; ++i)
      v[2 * i] = bf16Low(pairs[i]), v[2 * i + 1] = bf16High(pairs[i]);
    if constexpr (Heads::norm) {
      float gain[laneColumns];
#pragma unroll
      for (int i = 0; i < words; ++i) {
        const u32 gains = *reinterpret_cast<const u32 *>(shared.gains[isKey] + column + 2 * i);
        gain[2 * i] = bf16Low(gains), gain[2 * i + 1] = bf16High(gains);
      }
      Prepare::norm(v, gain);
    }
#pragma unroll
    for (int i = 0; i < (Heads::interleaved ? words : laneColumns); ++i)
      cosine[i] = shared.angles[angle + i], sine[i] = shared.angles[headDim / 2 + angle + i];
    Prepare::rotateColumns(v, cosine, sine, lane);
#pragma unroll
    for (int i = 0; i < words; ++i)
      pairs[i] = packBf16(v[2 * i], v[2 * i + 1]);
  }

  /// Waits for a head of q, k or v, whose words have been read once; leaves it in shared memory, and a new
  /// key or value in the cache.
  __device__ __forceinline__ void prepareHead(const Layer &layer, const Item &item, int head,
                                              u32 (&pairs)[words]) const {
    const bool isKey = head >= Heads::heads, isValue = head >= Heads::heads + Heads::kvHeads;
    awaitWords(pairs, wordsOf(layer, head));
#pragma unroll
    for (int i = 0; i < words; ++i)
      pairs[i] = ~pairs[i];
    if (!isValue)
      turn(pairs, isKey);
    const int column = lane * laneColumns;
    auto store = [&](u16 *to) {
      if constexpr (words == 2)
        *reinterpret_cast<uint2 *>(to) = uint2{pairs[0], pairs[1]};
      else
        *reinterpret_cast<u32 *>(to) = pairs[0];
    };
    store((isValue ? shared.value : isKey ? shared.key : shared.query[warp]) + column);
    if (!isKey || item.slot % Split::headGroups != 0)
      return; // the first item of a kv head writes
    int slot = position % kvPageTokens;
    asm volatile("" : "+r"(slot)); // else the place is computed earlier, when registers are few
    const int page = __ldg(step.blockTable + position / kvPageTokens);
    store(static_cast<u16 *>(*layer.pool) + KvLayout<Heads>::key(page, item.kvHead, slot) +
          KvLayout<Heads>::column(slot, column) + (isValue ? KvLayout<Heads>::valueOffset : 0));
  }

  /// Puts the token's own key and value into row `row` of this warp's block in the ring: they were not in the
  /// cache when it was copied.
  __device__ __forceinline__ void insertNewest(u32 block, int row) const {
    constexpr int vectors = headDim / 8;
    const bool isValue = lane / vectors;
    const int column = lane % vectors * 8;
    if (lane < 2 * vectors)
      storeShared(block + (isValue * 32 * headDim + row * headDim + KvLayout<Shape>::column(row, column)) * 2,
                  *reinterpret_cast<const uint4 *>((isValue ? shared.value : shared.key) + column));
    publishShared();
    __syncwarp();
  }

  //===-- Items ---===//

  static __device__ NumberedValue *recordOf(u32 number, int head, int split);

  /// Columns of the result, two neighbouring ones.
  __device__ __forceinline__ void publishColumns(const Layer &layer, int column, float x, float y) const {
    publishPair(layer.out + column / 2, layer.other + column / 2, packBf16(x, y));
  }

  /// Joins the warps' spans; publishes the result, or the split's record. Two columns a thread.
  __device__ __forceinline__ void joinSpans(const Layer &layer, const Item &item) const {
    constexpr int perHead = headDim / 2, atOnce = threads / perHead;
    const int d = thread() % perHead * 2;
#pragma unroll
    for (int first = 0; first < held; first += atOnce) {
      const int head = first + thread() / perHead;
      if (head >= item.headCount) // all lanes of a warp
        continue;
      float top, sum;
      const float2 value = Fragments::joinColumns(shared, head, d, top, sum);
      if (splits == 1) {
        publishColumns(layer, (item.firstHead + head) * headDim + d, __fdividef(value.x, sum),
                       __fdividef(value.y, sum));
        continue;
      }
      NumberedValue *to = recordOf(layer.number, item.firstHead + head, item.split - item.firstSplit);
      publishValues(to + 2 + d, value, layer.number);
      if (d == 0)
        publishValues(to, {top, sum}, layer.number);
    }
  }

  /// Requests a group's item's keys and values: for each block of a span a slot for each warp, keys, then
  /// values. One lane.
  __device__ __forceinline__ void requestItem(LoopRing<S> &ring, void *pool, int index) const {
    constexpr u32 bytes = 32 * headDim * 2;
    static_assert(2 * bytes <= S::slotBytes, "a slot holds a block");
    const Args args = {};
#pragma unroll 1
    for (int i = 0; i < Split::warps * spanBlocks(); ++i) {
      const Item item = itemAt(Fragments{{args, step, i % Split::warps}}, index);
      const int key = item.key + i / Split::warps * 32;
      const bool any = key < item.end;
      const u32 to = ring.claim(any ? 2 * bytes : 0);
      if (any) {
        const int page = __ldg(step.blockTable + key / kvPageTokens);
        const u16 *keys =
            static_cast<const u16 *>(pool) + KvLayout<Shape>::key(page, item.kvHead, key % kvPageTokens);
        copyBulkOnce(to, keys, bytes, ring.full());
        copyBulkOnce(to + bytes, keys + KvLayout<Shape>::valueOffset, bytes, ring.full());
      }
      ring.advance(1);
    }
  }

  /// Reads the keys of this warp's next block in the ring.
  __device__ __forceinline__ void readKeys(const LoopRing<S> &ring, const Fragments &fragments,
                                           typename Fragments::Block &block) const {
    const u32 from = ring.address(warp);
    fragments.loadKeys(block, [&](int i) { return loadShared(from + i * 2); });
  }
  /// Reads its values.
  __device__ __forceinline__ void readValues(const LoopRing<S> &ring, const Fragments &fragments,
                                             typename Fragments::Block &block, int key) const {
    const u32 from = ring.address(warp, 32 * headDim * 2);
#pragma unroll
    for (int b = 0; b < 2; ++b)
      fragments.loadValues(block, b, key, position, [&](int i) { return loadShared(from + i * 2); });
  }

  /// Adds a block's keys, which `block` has, and values to what a span gives so far.
  __device__ __forceinline__ void addBlock(const LoopRing<S> &ring, const Fragments &fragments,
                                           typename Split::Running &run, const uint4 (&q)[Split::chunks],
                                           typename Fragments::Block &block, int key) const {
    float s[4][4] = {};
    u32 p[4];
    fragments.scores(s, q, block, key, position);
    readValues(ring, fragments, block, key);
    fragments.weigh(run, s, p);
#pragma unroll
    for (int b = 0; b < 2; ++b)
      fragments.addValues(run, block.v[b], p[2 * b], p[2 * b + 1]);
  }

  __device__ __forceinline__ void runItem(LoopRing<S> &ring, const Layer &layer, int index) const {
    const Args args = {};
    const Fragments fragments{{args, step, warp}};
    Item item = itemAt(fragments, index);
    // The first reading of q, k and v is on its way while keys are read.
    const int head = ownHead(item, item.split - item.firstSplit == splits - 1);
    u32 pairs[words];
    if (head >= 0)
      loadWords(pairs, wordsOf(layer, head));
    typename Fragments::Block block;
    ring.await(0, Split::warps);
    const bool early = position - item.key >= 32; // the first block lacks nothing
    if (early)
      readKeys(ring, fragments, block);
    if (head >= 0)
      prepareHead(layer, item, head, pairs);
    barrier();
    const int g = lane / 4, t = lane % 4;
    uint4 q[Split::chunks];
#pragma unroll
    for (int c = 0; c < Split::chunks; ++c)
      q[c] = g < item.headCount
                 ? *reinterpret_cast<const uint4 *>(shared.query[g < held ? g : 0] + c * 32 + t * 8)
                 : uint4{0, 0, 0, 0};
    typename Split::Running run;
    const int blocks = spanBlocks();
#pragma unroll 1
    for (int i = 0; i < blocks; ++i, item.key += 32) {
      if (i > 0)
        ring.await(0, Split::warps);
      if (item.key < item.end) {
        const int newest = position - item.key; // its row, if the block has it
        if (newest < 32)
          insertNewest(ring.address(warp), newest);
        if (i > 0 || !early)
          readKeys(ring, fragments, block);
        addBlock(ring, fragments, run, q, block, item.key);
      }
      ring.release(Split::warps);
    }
    fragments.storeSpan(shared, run);
    barrier();
    joinSpans(layer, item);
    barrier();
  }

  /// Joins the records of a head's splits, in the order of AttentionDecode.
  __device__ __forceinline__ void joinSplits(const Layer &layer, int head) const {
    constexpr int rounds = Split::splitRounds, headers = 2 * rounds, together = 16;
    const int d = thread();
    // Maximum and sum of each split; and what this thread's column is in the first splits, so as not to wait
    // twice.
    float found[headers + together];
    auto valueOf = [&](int split) -> const NumberedValue * {
      return split < splits && d < headDim ? recordOf(layer.number, head, split) + 2 + d : nullptr;
    };
    awaitValues(found, layer.number, [&](int i) -> const NumberedValue * {
      if (i >= headers)
        return valueOf(i - headers);
      const int split = i / 2 * 32 + lane;
      return split < splits ? recordOf(layer.number, head, split) + i % 2 : nullptr;
    });
    float maximum[rounds], sum[rounds];
#pragma unroll
    for (int i = 0; i < rounds; ++i) {
      maximum[i] = i * 32 + lane < splits ? found[2 * i] : negativeInfinity();
      sum[i] = found[2 * i + 1];
    }
    Split::splitWeights(maximum, sum);
#pragma unroll
    for (int i = 0; i < rounds; ++i)
      shared.weights[warp][i * 32 + lane] = maximum[i];
    __syncwarp();
    float value[together], x = 0.f;
#pragma unroll
    for (int j = 0; j < together; ++j)
      value[j] = found[headers + j];
#pragma unroll 1
    for (int split = 0;;) {
#pragma unroll
      for (int j = 0; j < together; ++j)
        x = __fmaf_rn(value[j], shared.weights[warp][split + j], x);
      if ((split += together) >= splits)
        break;
      awaitValues(value, layer.number, [&](int j) { return valueOf(split + j); });
    }
    if (d < headDim) { // all threads of a warp
      const float next = __shfl_down_sync(0xffffffffu, x, 1);
      if (d % 2 == 0)
        publishColumns(layer, head * headDim + d, x, next);
    }
    __syncwarp();
  }

  /// Calls visit(group, index) for each item of this block, in the order in which the ring has them.
  template <class Visit> __device__ __forceinline__ void forEachItem(Visit visit) const {
#pragma unroll 1
    for (int index = first - group * S::blocks; index < items(); index += S::blocks)
      visit(index / S::blocks % 2, index);
  }

  /// Requests what all items of this block need of a layer. One lane.
  __device__ __forceinline__ void request(LoopRing<S> &ring, void *pool) const {
    forEachItem([&](int, int index) { requestItem(ring, pool, index); });
  }

  /// A layer's items of this group, and the heads whose splits it joins.
  __device__ __forceinline__ void run(LoopRing<S> &ring, const Layer &layer) const {
    forEachItem([&](int half, int index) {
      if (half == group)
        runItem(ring, layer, index);
      else
        for (int i = 0; i < spanBlocks(); ++i)
          ring.skip(Split::warps);
    });
    if (splits > 1)
#pragma unroll 1
      for (int head = first; head < Shape::heads; head += 2 * S::blocks)
        joinSplits(layer, head);
  }
};

/// Records of splits: of an exchange with an even number and one with an odd number.
template <class S>
__device__ __align__(16) NumberedValue
    loopRecords[u64(2) * S::Part2::heads * LoopAttention<S>::maxSplits * LoopAttention<S>::record];
template <class S> __device__ NumberedValue *LoopAttention<S>::recordOf(u32 number, int head, int split) {
  return loopRecords<S> + ((u64(number & 1) * Shape::heads + head) * maxSplits + split) * record;
}

} // namespace fusebox
