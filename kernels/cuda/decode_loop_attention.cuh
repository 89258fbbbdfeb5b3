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
  using Prepare = PrepareHeadVectors<Heads>;
  /// Few heads an item: there are blocks enough, and each ends sooner.
  using Fragments = AttentionFragments<Shape, 2>;
  using Split = typename Fragments::Split;
  using Item = typename Split::Item;
  static constexpr int headDim = Shape::headDim, columns = Shape::heads * headDim, threads = 128,
                       held = Split::heldHeads, maxSplits = Split::maxSplits, record = headDim + 2;
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
    const u32 *qkv;   ///< q, k, v: pairs, exchanged
    u32 *out, *other; ///< pairs of this step, and their places of the next
    void *pool;
    u32 number; ///< of this exchange of split records
  };

  //===-- Heads ---===//

  static __device__ __forceinline__ void copy8(float (&to)[8], const float *from) {
#pragma unroll
    for (int e = 0; e < 8; ++e)
      to[e] = from[e];
  }

  /// What does not change from layer to layer. Once in a step, before run().
  __device__ __forceinline__ void begin(const void *angles) const {
    const int i = thread();
    if (i < headDim)
      shared.angles[i] = load<Heads::anglesType>(angles, i);
  }

  /// Requests the gains that a layer's items need.
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

  /// Waits for an item's queries, and for the key and the value of the token if it sees them; leaves all in
  /// shared memory, and the new key and value in the cache.
  __device__ __forceinline__ void prepareHeads(const Layer &layer, const Item &item, bool isNewest) const {
    constexpr int lanes = Prepare::lanes, atOnce = threads / lanes;
    const int own = lane % lanes, column = own * 8;
    const int angle = Heads::interleaved ? own * 4 : own % (lanes / 2) * 8;
    const int count = item.headCount + (isNewest ? 2 : 0);
#pragma unroll 1
    for (int from = 0; from < count; from += atOnce) {
      const int index = from + warp * (32 / lanes) + lane / lanes;
      const bool isKey = index == item.headCount, isValue = index == item.headCount + 1;
      const int head = isKey                    ? Heads::heads + item.kvHead
                       : isValue                ? Heads::heads + Heads::kvHeads + item.kvHead
                       : index < item.headCount ? item.firstHead + index
                                                : item.firstHead;
      uint4 bits[1];
      awaitVectors(bits, [&](int) { return layer.qkv + (head * headDim + column) / 2; });
      invert(bits);
      const u32 pairs[4] = {bits[0].x, bits[0].y, bits[0].z, bits[0].w};
      float v[8], cosine[8], sine[8];
#pragma unroll
      for (int e = 0; e < 4; ++e)
        v[2 * e] = bf16Low(pairs[e]), v[2 * e + 1] = bf16High(pairs[e]);
      if constexpr (Heads::norm) {
        const uint4 bitsOfGain = *reinterpret_cast<const uint4 *>(shared.gains[isKey] + column);
        const u32 gains[4] = {bitsOfGain.x, bitsOfGain.y, bitsOfGain.z, bitsOfGain.w};
        float gain[8];
#pragma unroll
        for (int e = 0; e < 4; ++e)
          gain[2 * e] = bf16Low(gains[e]), gain[2 * e + 1] = bf16High(gains[e]);
        Prepare::norm(v, gain);
      }
      copy8(cosine, shared.angles + angle);
      copy8(sine, shared.angles + headDim / 2 + angle);
      Prepare::rotateColumns(v, cosine, sine, own);
      const uint4 turned = {packBf16(v[0], v[1]), packBf16(v[2], v[3]), packBf16(v[4], v[5]),
                            packBf16(v[6], v[7])};
      if (index >= count)
        continue;
      const uint4 result = isValue ? bits[0] : turned;
      u16 *to = isKey ? shared.key : isValue ? shared.value : shared.query[index];
      *reinterpret_cast<uint4 *>(to + column) = result;
      if ((!isKey && !isValue) || item.slot % Split::headGroups != 0)
        continue; // the first item of a kv head writes
      const int slot = position % kvPageTokens, page = __ldg(step.blockTable + position / kvPageTokens);
      const u64 at = KvLayout<Heads>::key(page, item.kvHead, slot) + KvLayout<Heads>::column(slot, column) +
                     (isValue ? KvLayout<Heads>::valueOffset : 0);
      *reinterpret_cast<uint4 *>(static_cast<u16 *>(layer.pool) + at) = result;
    }
  }

  // The token's own key and value, in row `row` of a block: they were not in the cache when it was copied.
  __device__ __forceinline__ void insertNewestKey(typename Fragments::Block &block, int row) const {
    const int g = lane / 4, t = lane % 4;
#pragma unroll
    for (int n = 0; n < 4; ++n)
      if (row == n * 8 + g)
#pragma unroll
        for (int c = 0; c < Split::chunks; ++c)
          block.k[n][c] = *reinterpret_cast<const uint4 *>(shared.key + c * 32 + t * 8);
  }
  __device__ __forceinline__ void insertNewestValue(typename Fragments::Block &block, int row) const {
    const int g = lane / 4, t = lane % 4;
#pragma unroll
    for (int b = 0; b < 2; ++b)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (row == 16 * b + 2 * t + (i & 1) + (i >> 1) * 8)
#pragma unroll
          for (int h = 0; h < Fragments::halves; ++h)
            block.v[b][i][h] = *reinterpret_cast<const uint4 *>(shared.value + h * 64 + g * 8);
  }

  //===-- Items ---===//

  static __device__ NumberedValue *recordOf(u32 number, int head, int split);

  /// Columns of the result: threads of two neighbouring columns together.
  __device__ __forceinline__ void publishColumn(const Layer &layer, int column, float value) const {
    const float next = __shfl_xor_sync(0xffffffffu, value, 1);
    if (column % 2 == 0)
      publishPair(layer.out + column / 2, layer.other + column / 2, packBf16(value, next));
  }

  /// Joins the warps' spans; publishes the result, or the split's record.
  __device__ __forceinline__ void joinSpans(const Layer &layer, const Item &item) const {
    constexpr int atOnce = threads / headDim;
    const int d = thread() % headDim;
#pragma unroll
    for (int first = 0; first < held; first += atOnce) {
      const int head = first + thread() / headDim;
      if (head >= item.headCount) // all lanes of a warp
        continue;
      float top, sum, value;
      Fragments::joinElement(shared, head, d, top, sum, value);
      if (splits == 1) {
        publishColumn(layer, (item.firstHead + head) * headDim + d, __fdividef(value, sum));
        continue;
      }
      NumberedValue *to = recordOf(layer.number, item.firstHead + head, item.split - item.firstSplit);
      publishValue(to + 2 + d, value, layer.number);
      if (d == 0)
        publishValue(to, top, layer.number), publishValue(to + 1, sum, layer.number);
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
    ring.await(0, Split::warps);
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

  /// Adds a block of keys, which `block` has, and its values to what a span gives so far.
  __device__ __forceinline__ void addBlock(const LoopRing<S> &ring, const Fragments &fragments,
                                           typename Split::Running &run, const uint4 (&q)[Split::chunks],
                                           typename Fragments::Block &block, int key) const {
    float s[4][4] = {};
    u32 p[4];
    const int newest = position - key; // its row, if the block has it
    if (newest < 32)
      insertNewestKey(block, newest);
    fragments.scores(s, q, block, key, position);
    readValues(ring, fragments, block, key);
    if (newest < 32)
      insertNewestValue(block, newest);
    fragments.weigh(run, s, p);
#pragma unroll
    for (int b = 0; b < 2; ++b)
      fragments.addValues(run, block.v[b], p[2 * b], p[2 * b + 1]);
  }

  __device__ __forceinline__ void runItem(LoopRing<S> &ring, const Layer &layer, int index) const {
    const Args args = {};
    const Fragments fragments{{args, step, warp}};
    Item item = itemAt(fragments, index);
    typename Fragments::Block block;
    prepareHeads(layer, item, item.split - item.firstSplit == splits - 1);
    readKeys(ring, fragments, block); // earlier there were too few registers
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
        readKeys(ring, fragments, block);
      if (item.key < item.end)
        addBlock(ring, fragments, run, q, block, item.key);
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
    if (d < headDim) // all threads of a warp
      publishColumn(layer, head * headDim + d, x);
    __syncwarp();
  }

  /// Calls visit(group, index) for each item of this block, in the order in which the ring has them.
  template <class Visit> __device__ __forceinline__ void forEachItem(Visit visit) const {
#pragma unroll 1
    for (int index = first - group * S::blocks, half = 0; index < items(); index += S::blocks, half ^= 1)
      visit(half, index);
  }

  /// Requests what all items of this block need of a layer. One lane.
  __device__ __forceinline__ void request(LoopRing<S> &ring, void *pool) const {
    forEachItem([&](int, int index) { requestItem(ring, pool, index); });
  }

  /// A layer's items of this group, and the heads whose splits it joins.
  __device__ __forceinline__ void run(LoopRing<S> &ring, const Layer &layer) const {
    if (first < items()) {
      waitCopies<0>(); // of gains
      barrier();
    }
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
__device__ NumberedValue
    loopRecords[u64(2) * S::Part2::heads * LoopAttention<S>::maxSplits * LoopAttention<S>::record];
template <class S> __device__ NumberedValue *LoopAttention<S>::recordOf(u32 number, int head, int split) {
  return loopRecords<S> + ((u64(number & 1) * Shape::heads + head) * maxSplits + split) * record;
}

} // namespace fusebox
