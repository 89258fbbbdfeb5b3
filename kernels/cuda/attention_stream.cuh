// Attention of single tokens over a long paged KV cache, bf16, at the speed of memory. Same bits as
// attention_decode, which is faster over a short one.
//
// Each warp has a ring of its own in shared memory, which bulk copies fill with what it reads next, item
// after item; before the kernel's input is ready with what lies in the cache from earlier steps. A fifth warp
// joins spans, so that the others don't wait for that. Splits are joined by warps that have no more items, in
// pieces of 32 columns: joined by whole rows, a few blocks would be at it while all others are idle.
#pragma once
#include "attention_split.cuh"
#include "exchange.cuh"
#include "ring.cuh"

namespace fusebox {

/// S: as AttentionSplit; blocks a multiprocessor should hold, units of a warp's ring (these two don't change
/// bits).
template <class S> struct AttentionStream : AttentionSplit<S> {
  using Split = AttentionSplit<S>;
  using Split::args, Split::step, Split::warp, Split::lane, Split::g, Split::t;
  using Split::warps, Split::groupHeads, Split::headGroups, Split::slots, Split::heldHeads, Split::chunks,
      Split::tiles, Split::mostRows, Split::maxSplits;
  using typename Split::Cursor, typename Split::Item, typename Split::Running, typename Split::Spans;
  static constexpr int threads = 32 * (warps + 1);
  /// A split's record: accumulated values, maximum, sum, padding.
  static constexpr u64 recordFloats = S::headDim + 4;
  /// Lanes take 4 elements of a head each, several heads side by side if they are small.
  static constexpr int headLanes = S::headDim / 4, lanesHeads = 32 / headLanes;
  /// The ring passes units of 4 KB: of a block of 32 keys first the keys, then the values.
  static constexpr int unitBytes = 4096, unitKeys = unitBytes / 2 / S::headDim, halfUnits = 32 / unitKeys,
                       blockUnits = 2 * halfUnits;

  struct Shared {
    Spans spans[2]; ///< of two items in turn
    StageBarrier full[warps][S::units];
  };

  Shared &shared;
  const u32 ring = dynamicShared() + warp * S::units * unitBytes;
  Cursor ahead = {}; ///< the block that is requested next
  int page = 0;      ///< of its keys
  u32 inPage = 0;    ///< where they are there
  int requestSlot = 0, readSlot = 0, readParity = 0;

  //===-- The ring ---===//

  /// Steps over empty spans to a block to request, and looks up its page, which is there when its first unit
  /// is requested.
  __device__ __forceinline__ void findBlock() {
    while (ahead.there && ahead.item.key >= ahead.item.end)
      Split::nextItem(ahead);
    if (ahead.there) {
      page = Split::blockPage(ahead.item);
      inPage = u32(KvLayout<S>::key(0, ahead.item.kvHead, ahead.item.key % kvPageTokens));
    }
  }

  /// Byte offset of columns [8 chunk, 8 chunk + 8) of a row in a unit: as in the cache (KvLayout::column).
  static __device__ __forceinline__ int place(int row, int chunk) {
    return row * S::headDim * 2 + (chunk ^ (row & 7)) * 16;
  }

  /// Requests unit `unit` of the block at `ahead`.
  __device__ __forceinline__ void requestUnit(int unit) {
    if (ahead.there) {
      const u16 *from = static_cast<const u16 *>(args.p[2]) + KvLayout<S>::key(page, 0, 0) + inPage +
                        unit % halfUnits * (unitBytes / 2) +
                        (unit >= halfUnits ? KvLayout<S>::valueOffset : 0);
      const u32 to = ring + requestSlot * unitBytes;
      StageBarrier &full = shared.full[warp][requestSlot];
      if constexpr (hasBulkCopies) {
        beginStage(full, unitBytes);
        if (lane == 0)
          headGroups == 1 ? copyBulkOnce(to, from, unitBytes, full) : copyBulk(to, from, unitBytes, full);
      } else {
        for (int at = lane * 16; at < unitBytes; at += 512)
          copyAsync(to + at, from + at / 2, true);
        reportCopies(full);
      }
      if (unit == blockUnits - 1) {
        ahead.item.key += 32;
        findBlock();
      }
    }
    requestSlot = requestSlot + 1 == S::units ? 0 : requestSlot + 1;
  }

  /// Waits for the oldest unit of the ring and gives its address.
  __device__ __forceinline__ u32 awaitUnit() const {
    shared.full[warp][readSlot].wait(u32(readParity));
    return ring + readSlot * unitBytes;
  }
  /// The unit has been read: its place is filled again, by what comes S::units later.
  __device__ __forceinline__ void releaseUnit(int unit) {
    if (++readSlot == S::units)
      readSlot = 0, readParity ^= 1;
    __syncwarp();
    requestUnit((unit + S::units) % blockUnits);
  }

  /// Makes values from row `first` of a unit on 0: what lies there may be no number.
  __device__ __forceinline__ void clearValues(u32 unit, int first) const {
    for (int at = first * S::headDim * 2 + lane * 16; at < unitBytes; at += 512)
      storeShared(unit + at, uint4{0, 0, 0, 0});
    publishShared();
    __syncwarp();
  }

  /// Fills the ring: with what is there already, then, when the kernel's input is ready, with the rest.
  __device__ __forceinline__ void fillRing() {
    ahead = Split::firstItem();
    findBlock();
    bool waited = false;
#pragma unroll
    for (int u = 0; u < S::units; ++u) {
      if (u % blockUnits == 0 && !waited && ahead.there && !Split::isOld(ahead.item)) {
        waitForInputs();
        waited = true;
      }
      requestUnit(u % blockUnits);
    }
    if (!waited)
      waitForInputs();
  }

  //===-- One item ---===//

  /// s[n] += Q K^T for the keys of a unit, 8 for each n.
  __device__ __forceinline__ void multiplyKeys(float (*s)[4], const uint4 (&q)[chunks], u32 unit) const {
#pragma unroll
    for (int c = 0; c < chunks; ++c)
#pragma unroll
      for (int n = 0; n < unitKeys / 8; ++n) {
        const uint4 k = loadShared(unit + place(n * 8 + g, c * 4 + t));
        mma(s[n], q[c].x, 0u, q[c].y, 0u, k.x, k.y);
        mma(s[n], q[c].z, 0u, q[c].w, 0u, k.z, k.w);
      }
  }

  /// values += V^T P for 16 keys of a unit, from row `first` on.
  __device__ __forceinline__ void addValues(Running &run, u32 unit, int first, u32 p0, u32 p1) const {
#pragma unroll
    for (int j = 0; j < tiles; ++j) {
      u32 v[4]; // d 0 to 7 of keys 0 to 7, d 8 to 15 of these, then keys 8 to 15
      loadMatricesTransposed(v, unit + place(first + lane % 8 + lane / 16 * 8, 2 * j + lane / 8 % 2));
      mma(run.values[j], v[0], v[1], v[2], v[3], p0, p1);
    }
  }

  /// Leaves this warp's span in shared memory.
  __device__ __forceinline__ void storeSpan(Running &run, Spans &spans) const {
    run.sum = quadSum(run.sum);
    if (t == 0)
      spans.maximum[warp][g] = run.maximum, spans.sum[warp][g] = run.sum;
#pragma unroll
    for (int i = 0; i < 2; ++i)
      if (2 * t + i < heldHeads)
#pragma unroll
        for (int j = 0; j < tiles; ++j) {
          float *values = spans.values[warp][2 * t + i] + 16 * j + g;
          values[0] = run.values[j][i], values[8] = run.values[j][2 + i];
        }
  }

  //===-- Spans ---===//

  // Barriers between the warp that joins and the others: spans of buffer 0 or 1 are there, their place is
  // free again.
  static constexpr int spansThere = 1, spansRead = 3;
  static __device__ __forceinline__ void meet(int barrier) {
    __syncwarp();
    asm volatile("bar.sync %0, %1;" ::"r"(barrier), "n"(threads) : "memory");
  }
  static __device__ __forceinline__ void announce(int barrier) {
    __syncwarp();
    asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "n"(threads) : "memory");
  }

  static __device__ float *scratch(int row, int head, int split);

  __device__ __forceinline__ void storeResult(int row, int head, const float4 &v) const {
    const u64 at = (u64(row) * S::heads + head) * S::headDim + u64(lane % headLanes) * 4;
    *reinterpret_cast<uint2 *>(static_cast<u16 *>(args.p[0]) + at) =
        uint2{packBf16(v.x, v.y), packBf16(v.z, v.w)};
  }

  /// Joins the warps' spans in order; writes the result, or the split's record.
  __device__ __forceinline__ void joinSpans(const Item &item, const Spans &spans) const {
#pragma unroll
    for (int first = 0; first < heldHeads; first += lanesHeads) {
      const int head = first + lane / headLanes;
      if (head >= item.headCount)
        continue;
      float factor[warps], top, sum;
      Split::spanFactors(spans, head, factor, top, sum);
      float4 value = {0.f, 0.f, 0.f, 0.f};
#pragma unroll
      for (int w = 0; w < warps; ++w) {
        const float4 v = *reinterpret_cast<const float4 *>(spans.values[w][head] + lane % headLanes * 4);
        value = {__fmaf_rn(v.x, factor[w], value.x), __fmaf_rn(v.y, factor[w], value.y),
                 __fmaf_rn(v.z, factor[w], value.z), __fmaf_rn(v.w, factor[w], value.w)};
      }
      if (item.splits == 1) {
        storeResult(item.row, item.firstHead + head,
                    {__fdividef(value.x, sum), __fdividef(value.y, sum), __fdividef(value.z, sum),
                     __fdividef(value.w, sum)});
        continue;
      }
      float *to = scratch(item.row, item.firstHead + head, item.split - item.firstSplit);
      *reinterpret_cast<float4 *>(to + lane % headLanes * 4) = value;
      if (lane % headLanes == 0)
        *reinterpret_cast<float2 *>(to + S::headDim) = {top, sum};
    }
  }

  //===-- Splits ---===//

  /// Of a launch; zero before and after.
  struct State {
    u32 arrived[mostRows * slots]; ///< records of a row's slot
    u32 started;                   ///< blocks whose input is ready
    /// Numbers that warps have taken: of a piece to join, at last one behind them; in the upper half, of
    /// warps that have left without.
    u32 taken;
  };
  static __device__ State *state();

  /// Announces the records of `count` items, one a lane's. Several at once, as a fence takes long when memory
  /// is busy.
  __device__ __forceinline__ void announceRecords(int unit, int count) const {
    fenceGpu();
    __syncwarp();
    if (lane < count)
      atomicAdd(&state()->arrived[unit], 1u);
  }

  __device__ __forceinline__ void awaitRecords(const u32 *arrived, int splits) const {
    for (int tries = 0; __shfl_sync(0xffffffffu, lane == 0 ? loadAcquire(arrived) : 0u, 0) != u32(splits);)
      if (++tries == mostPolls)
        __trap();
    __syncwarp();
  }

  /// What is joined at a time: the records of 32 columns of a head. The pieces of all rows have the items'
  /// order, so that the first are ready first.
  static constexpr int headPieces = S::headDim / 32, slotPieces = heldHeads * headPieces,
                       rowPieces = slots * slotPieces;
  static_assert(mostRows * rowPieces < 1 << 15, "numbers of pieces and of warps behind them are of 16 bits");
  struct Piece {
    int row, slot, head, column, splits;
    bool there; ///< else its row has no splits, or its slot fewer heads
  };
  __device__ __forceinline__ Piece pieceAt(int index) const {
    Piece piece;
    piece.row = index / rowPieces, piece.slot = index % rowPieces / slotPieces;
    const int inSlot = piece.slot % headGroups * 8 + index % slotPieces / headPieces;
    piece.head = piece.slot / headGroups * groupHeads + inSlot;
    piece.column = index % headPieces * 32;
    piece.splits = Split::ofRow(Split::rowSplits, piece.row);
    piece.there = piece.splits > 1 && inSlot < groupHeads;
    return piece;
  }

  /// Joins a piece, a column a lane, in order and writes the result.
  __device__ __forceinline__ void joinPiece(const Piece &piece) const {
    const float *records = scratch(piece.row, piece.head, 0);
    float value[maxSplits], maximum[Split::splitRounds], sum[Split::splitRounds];
#pragma unroll
    for (int i = 0; i < Split::splitRounds; ++i) {
      const int split = i * 32 + lane;
      const float2 part =
          split < piece.splits
              ? __ldcg(reinterpret_cast<const float2 *>(records + split * recordFloats + S::headDim))
              : float2{negativeInfinity(), 0.f};
      maximum[i] = part.x, sum[i] = part.y;
    }
#pragma unroll
    for (int i = 0; i < maxSplits; ++i)
      value[i] = i < piece.splits ? __ldcg(records + i * recordFloats + piece.column + lane) : 0.f;
    Split::splitWeights(maximum, sum);
    float joined = 0.f;
#pragma unroll
    for (int i = 0; i < maxSplits; ++i)
      joined = __fmaf_rn(value[i], __shfl_sync(0xffffffffu, maximum[i / 32], i % 32), joined);
    const float right = __shfl_down_sync(0xffffffffu, joined, 1);
    if (lane % 2 == 0)
      *reinterpret_cast<u32 *>(static_cast<u16 *>(args.p[0]) +
                               (u64(piece.row) * S::heads + piece.head) * S::headDim + piece.column + lane) =
          packBf16(joined, right);
  }

  // What lane 0 asks for, some time before the warp needs it.
  __device__ __forceinline__ u32 askStarted() const { return lane == 0 ? loadWord(&state()->started) : 0u; }
  __device__ __forceinline__ u32 takeNumber(u32 step) const {
    return lane == 0 ? atomicAdd(&state()->taken, step) : 0u;
  }

  /// Joins pieces until there are no more. To wait for records of other blocks is safe only if all blocks
  /// have started: else a warp takes no piece, and leaves them to others, at last to the block that starts
  /// last.
  __device__ __forceinline__ void joinPieces(u32 started) const {
    State &all = *state();
    const int count = step.tokens * rowPieces;
    const bool waits = __shfl_sync(0xffffffffu, started, 0) == gridDim.x;
    u32 number = __shfl_sync(0xffffffffu, takeNumber(waits ? 1u : 1u << 16), 0);
    while (waits && int(number & 0xffffu) < count) {
      const Piece piece = pieceAt(int(number & 0xffffu));
      if (piece.there)
        awaitRecords(all.arrived + piece.row * slots + piece.slot, piece.splits);
      const u32 next = takeNumber(1);
      if (piece.there)
        joinPiece(piece);
      number = __shfl_sync(0xffffffffu, next, 0);
    }
    // The last of all warps: all have got the records they waited for, and nobody reads the state any more.
    if ((number & 0xffffu) + (number >> 16) != u32(count) + gridDim.x * warps - 1)
      return;
    for (int i = lane; i < mostRows * slots; i += 32)
      all.arrived[i] = 0;
    if (lane == 0)
      all.started = all.taken = 0;
  }

  //===-- The warp that joins spans ---===//

  /// Joins the spans of this block's items.
  __device__ __forceinline__ void join() const {
    constexpr int together = 4; // records, when they are announced
    waitForInputs();
    int buffer = 0, written = 0, unit = 0;
    for (Cursor here = Split::firstItem(); here.there; Split::nextItem(here), buffer ^= 1) {
      meet(spansThere + buffer);
      joinSpans(here.item, shared.spans[buffer]);
      announce(spansRead + buffer);
      if (here.item.splits > 1 && lane == written++)
        unit = here.item.row * slots + here.item.slot;
      if (written == together) {
        announceRecords(unit, written);
        written = 0;
      }
    }
    if (written)
      announceRecords(unit, written);
  }

  //===-- All warps ---===//

  __device__ __forceinline__ void run() {
    if (warp < warps && lane < S::units)
      shared.full[warp][lane].init(copyArrivals), publishBarriers();
    __syncwarp();
    Split::readRows();
    if (warp == warps)
      join();
    else
      attend();
  }

  __device__ __forceinline__ void attend() {
    fillRing();
    if (threadIdx.x == 0)
      atomicAdd(&state()->started, 1u);
    Cursor here = Split::firstItem();
    uint4 q[chunks];
    u32 started = 0;
    auto prepare = [&] { // what is needed after this item
      if (here.there)
        Split::loadQuery(q, here.item);
      else
        started = askStarted();
    };
    prepare();
    int count = 0;
    for (; here.there; ++count) {
      const int position = here.item.position, end = here.item.end;
      Running run;
      for (int key = here.item.key; key < end; key += 32)
        addBlock(run, q, key, position);
      Split::nextItem(here);
      prepare();
      if (count >= 2)
        meet(spansRead + count % 2);
      storeSpan(run, shared.spans[count % 2]);
      announce(spansThere + count % 2);
    }
    joinPieces(started);
    // Only now: the last spans are read while pieces are joined.
    for (int left = max(count - 2, 0); left < count; ++left)
      meet(spansRead + left % 2);
  }

  /// 32 keys from the ring.
  __device__ __forceinline__ void addBlock(Running &run, const uint4 (&q)[chunks], int key, int position) {
    float s[4][4] = {};
    u32 p[4];
#pragma unroll
    for (int unit = 0; unit < halfUnits; ++unit) {
      multiplyKeys(s + unit * (unitKeys / 8), q, awaitUnit());
      releaseUnit(unit);
    }
    if (key + 31 <= position && key >= Split::firstKey(position))
      Split::template finishScores<false>(s, key, position);
    else
      Split::template finishScores<true>(s, key, position);
    Split::weigh(run, s, p);
#pragma unroll
    for (int unit = 0; unit < halfUnits; ++unit) {
      const u32 values = awaitUnit();
      if (const int seen = position + 1 - key - unit * unitKeys; seen < unitKeys)
        clearValues(values, max(seen, 0));
#pragma unroll
      for (int first = 0; first < unitKeys; first += 16) {
        const int n = (unit * unitKeys + first) / 8;
        addValues(run, values, first, p[n], p[n + 1]);
      }
      releaseUnit(halfUnits + unit);
    }
  }
};

/// Records of splits.
template <class S>
__device__ float streamScratch[u64(AttentionStream<S>::mostRows) * S::heads * AttentionStream<S>::maxSplits *
                               AttentionStream<S>::recordFloats];
template <class S> __device__ typename AttentionStream<S>::State streamState;

template <class S>
__device__ __forceinline__ float *AttentionStream<S>::scratch(int row, int head, int split) {
  return streamScratch<S> + ((u64(row) * S::heads + head) * maxSplits + split) * recordFloats;
}
template <class S>
__device__ __forceinline__ typename AttentionStream<S>::State *AttentionStream<S>::state() {
  return &streamState<S>;
}

/// Grid: any number of blocks of 160 threads.
template <class S> __device__ void attention_stream(const Args &args, const StepView &step) {
  __shared__ typename AttentionStream<S>::Shared shared;
  letNextStart();
  AttentionStream<S>{{args, step}, shared}.run();
}

} // namespace fusebox
