// Attention of single tokens over a long paged KV cache, bf16, at the speed of memory. Same bits as
// attention_decode, which is faster over a short one.
//
// Each warp has a ring of its own in shared memory, which bulk copies fill with what it reads next, item
// after item; before the kernel's input is ready with what lies in the cache from earlier steps. A fifth warp
// joins spans, so that the others don't wait for that. Splits are joined by blocks that have no more items:
// joined at once by the block that finishes the last of a row, they would hold up its stream, and so make the
// same block finish the next row's last split, too.
#pragma once
#include "attention_split.cuh"
#include "ring.cuh"

namespace fusebox {

/// S: as AttentionSplit; blocks a multiprocessor should hold, units of a warp's ring (these two don't change
/// bits).
template <class S> struct AttentionStream : AttentionSplit<S> {
  using Split = AttentionSplit<S>;
  using Split::args, Split::step, Split::warp, Split::lane, Split::g, Split::t;
  using Split::firstItem, Split::nextItem, Split::splitsOf;
  using Split::rowPosition, Split::warps, Split::groupHeads, Split::headGroups, Split::slots,
      Split::heldHeads, Split::chunks, Split::tiles, Split::mostRows, Split::maxSplits;
  using typename Split::Cursor, typename Split::Item, typename Split::Running, typename Split::Spans;
  static constexpr int threads = 32 * (warps + 1);
  static constexpr u64 record = S::headDim + 4; ///< of a split: accumulated values, maximum, sum, padding
  /// Lanes take 4 elements of a head each, several heads side by side if they are small.
  static constexpr int headLanes = S::headDim / 4, lanesHeads = 32 / headLanes;
  /// The ring passes units of 4 KB: of a block of 32 keys first the keys, then the values.
  static constexpr int unitBytes = 4096, unitKeys = unitBytes / 2 / S::headDim, halfUnits = 32 / unitKeys,
                       blockUnits = 2 * halfUnits;

  struct Shared {
    Spans spans[2]; ///< of two items in turn
    float weights[warps + 1][lanesHeads][maxSplits];
    StageBarrier full[warps][S::units];
    int unit; ///< whose splits the block joins next; -1: none
  };

  Shared &shared;
  const u32 ring = dynamicShared() + warp * S::units * unitBytes;
  Cursor ahead = {}; ///< the block that is requested next
  int page = 0;      ///< of its keys
  int requestSlot = 0, readSlot = 0, readParity = 0;

  /// Items of the step.
  __device__ __forceinline__ int items() const {
    return __reduce_add_sync(0xffffffffu, rowPosition >= 0 ? slots * Split::splitsOf(rowPosition) : 0);
  }

  //===-- The ring ---===//

  /// Steps over empty spans to a block to request, and looks up its page.
  __device__ __forceinline__ void findBlock() {
    while (ahead.there && ahead.item.key >= ahead.item.end)
      nextItem(ahead);
    if (ahead.there)
      page = Split::blockPage(ahead.item);
  }

  /// Byte offset of columns [8 chunk, 8 chunk + 8) of a row in a unit: as in the cache (KvLayout::column).
  static __device__ __forceinline__ int place(int row, int chunk) {
    return row * S::headDim * 2 + (chunk ^ (row & 7)) * 16;
  }

  /// Requests unit `unit` of the block at `ahead`.
  __device__ __forceinline__ void requestUnit(int unit) {
    if (ahead.there) {
      const Item &item = ahead.item;
      const u16 *from =
          static_cast<const u16 *>(args.p[2]) +
          KvLayout<S>::key(page, item.kvHead, item.key % kvPageTokens + unit % halfUnits * unitKeys) +
          (unit >= halfUnits ? KvLayout<S>::valueOffset : 0);
      const u32 to = ring + requestSlot * unitBytes;
      StageBarrier &full = shared.full[warp][requestSlot];
      if constexpr (hasBulkCopies) {
        beginStage(full, unitBytes);
        if (lane == 0)
          copyBulk(to, from, unitBytes, full);
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
#if __CUDA_ARCH__ >= 900
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); // before a bulk copy writes there
#endif
    __syncwarp();
  }

  /// Fills the ring: with what is there already, then, when the kernel's input is ready, with the rest.
  __device__ __forceinline__ void fillRing() {
    ahead = firstItem();
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

  //===-- The warp that joins ---===//

  // Barriers between it and the others: spans of buffer 0 or 1 are there, their place is free again.
  static constexpr int spansThere = 1, spansRead = 3;
  static __device__ __forceinline__ void meet(int barrier) {
    asm volatile("bar.sync %0, %1;" ::"r"(barrier), "n"(threads) : "memory");
  }
  static __device__ __forceinline__ void announce(int barrier) {
    asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "n"(threads) : "memory");
  }

  static __device__ float *scratch(int row, int head, int split);
  static __device__ u32 *counter(int unit);

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

  /// A unit is what shares splits: a row's heads of an item. Joins the records of lanesHeads heads of it,
  /// from `first` on, in order and writes the result.
  __device__ __forceinline__ void joinSplits(int row, int slot, int splits, int first) const {
    const int firstHead = slot / headGroups * groupHeads + slot % headGroups * 8,
              headCount = min(8, groupHeads - slot % headGroups * 8);
    // The weight of each split over the sum of all, in shared memory: lanes over splits.
#pragma unroll
    for (int h = 0; h < lanesHeads; ++h) {
      float maximum[Split::splitRounds], sum[Split::splitRounds];
#pragma unroll
      for (int i = 0; i < Split::splitRounds; ++i) {
        const int split = i * 32 + lane;
        const float2 part = split < splits && first + h < headCount
                                ? __ldcg(reinterpret_cast<const float2 *>(
                                      scratch(row, firstHead + first + h, split) + S::headDim))
                                : float2{negativeInfinity(), 0.f};
        maximum[i] = part.x, sum[i] = part.y;
      }
      Split::splitWeights(maximum, sum);
#pragma unroll
      for (int i = 0; i < Split::splitRounds; ++i)
        shared.weights[warp][h][i * 32 + lane] = maximum[i];
    }
    __syncwarp();
    const int head = first + lane / headLanes;
    if (head < headCount) {
      const float *from = scratch(row, firstHead + head, 0) + lane % headLanes * 4;
      float4 value = {0.f, 0.f, 0.f, 0.f};
      constexpr int together = 16; // loads, before the first is used
#pragma unroll 1
      for (int split = 0; split < splits; split += together) {
        float4 v[together];
#pragma unroll
        for (int i = 0; i < together; ++i)
          v[i] = split + i < splits ? __ldcg(reinterpret_cast<const float4 *>(from + (split + i) * record))
                                    : float4{0.f, 0.f, 0.f, 0.f};
#pragma unroll
        for (int i = 0; i < together; ++i) {
          const float weight = shared.weights[warp][lane / headLanes][split + i];
          value = {__fmaf_rn(v[i].x, weight, value.x), __fmaf_rn(v[i].y, weight, value.y),
                   __fmaf_rn(v[i].z, weight, value.z), __fmaf_rn(v[i].w, weight, value.w)};
        }
      }
      storeResult(row, firstHead + head, value);
    }
    __syncwarp();
  }

  /// Announces the records of `count` items, one a lane's; gives a unit that is finished by that, or -1.
  /// Several at once, as a fence takes long when memory is busy.
  __device__ __forceinline__ int announceRecords(int unit, int splits, int count) const {
    __threadfence();
    __syncwarp();
    const bool last = lane < count && atomicAdd(counter(unit), 1u) == u32(splits - 1);
    const u32 all = __ballot_sync(0xffffffffu, last);
    return all ? __shfl_sync(0xffffffffu, unit, __ffs(all) - 1) : -1;
  }

  /// Whether `unit` is finished and no block has it yet; then it is this one's, and its counter is zero
  /// again.
  __device__ __forceinline__ bool claim(int unit, int splits) const {
    return atomicCAS(counter(unit), u32(splits), 0u) == u32(splits);
  }
  __device__ __forceinline__ int unitSplits(int unit) const {
    const int row = unit / slots, position = __shfl_sync(0xffffffffu, rowPosition, row & 31);
    return row < step.tokens && position >= 0 ? splitsOf(position) : 0;
  }

  /// The first finished unit from `start` on, of 128 units and round again; -1 if there is none. Of `count`
  /// it is the number of splits.
  __device__ __forceinline__ int findUnit(int group, int start, int &count) const {
    constexpr int words = 4;
    u32 arrived[words], finished[words];
    int counts[words];
#pragma unroll
    for (int w = 0; w < words; ++w) {
      const int unit = group + w * 32 + lane;
      counts[w] = unitSplits(unit);
      arrived[w] = counts[w] > 1 ? __ldcg(counter(unit)) : 0u;
    }
    int found = -1;
#pragma unroll
    for (int w = 0; w < words; ++w)
      finished[w] = __ballot_sync(0xffffffffu, counts[w] > 1 && arrived[w] == u32(counts[w]));
#pragma unroll
    for (int pass = 0; pass < 2; ++pass) // from start on, then those before it
#pragma unroll
      for (int w = 0; w < words; ++w) {
        const int skip = min(max(start - w * 32, 0), 32);
        const u32 wanted = pass == 0 ? u32(u64(finished[w]) >> skip << skip) : finished[w];
        if (found < 0 && wanted) {
          const int from = __ffs(wanted) - 1;
          found = group + w * 32 + from;
          count = __shfl_sync(0xffffffffu, counts[w], from);
        }
      }
    return found;
  }

  /// A finished unit for this block: `likely`, or one that is found; -1 if there is none. Blocks begin to
  /// look at different places, and look anew where another was faster, so that they rarely want the same one.
  __device__ __forceinline__ int claimUnit(int likely) const {
    auto claims = [&](int unit, int splits) {
      return __shfl_sync(0xffffffffu, lane == 0 && claim(unit, splits), 0);
    };
    if (likely >= 0 && claims(likely, unitSplits(likely)))
      return likely;
    for (int group = 0; group < step.tokens * slots; group += 128)
      for (int start = int(blockIdx.x * 37u % 128u);; start = (start + 41) % 128) {
        int splits = 0;
        const int unit = findUnit(group, start, splits);
        if (unit < 0)
          break;
        if (claims(unit, splits))
          return unit;
      }
    return -1;
  }

  /// Joins units as long as finished ones are found; all warps. `likely` is of the warp that joins spans.
  __device__ __forceinline__ void joinUnits(int likely) const {
    constexpr int rounds = divideUp(heldHeads, lanesHeads);
    for (;;) {
      if (warp == warps) {
        const int unit = claimUnit(likely);
        likely = -1;
        __threadfence();
        if (lane == 0)
          shared.unit = unit;
      }
      __syncthreads();
      const int unit = shared.unit;
      if (unit < 0)
        return;
      const int splits = unitSplits(unit);
      for (int round = warp; round < rounds; round += warps + 1)
        joinSplits(unit / slots, unit % slots, splits, round * lanesHeads);
      __syncthreads();
    }
  }

  /// Joins the spans of this block's items; gives a unit that is finished by the last of them, or -1.
  __device__ __forceinline__ int join() const {
    constexpr int together = 8;
    waitForInputs();
    int buffer = 0, written = 0, unit = 0, splits = 0, finished = -1;
    for (Cursor here = firstItem(); here.there; nextItem(here), buffer ^= 1) {
      meet(spansThere + buffer);
      joinSpans(here.item, shared.spans[buffer]);
      announce(spansRead + buffer);
      if (here.item.splits == 1)
        continue;
      if (lane == written)
        unit = here.item.row * slots + here.item.slot, splits = here.item.splits;
      if (++written == together) {
        finished = announceRecords(unit, splits, written);
        written = 0;
      }
    }
    return written ? announceRecords(unit, splits, written) : finished;
  }

  //===-- All warps ---===//

  __device__ __forceinline__ void run() {
    if (warp < warps && lane < S::units)
      shared.full[warp][lane].init(copyArrivals), publishBarriers();
    __syncwarp();
    Split::readRows();
    int finished = -1;
    if (warp == warps)
      finished = join();
    else
      attend();
    if (int(blockIdx.x) < items())
      joinUnits(finished);
  }

  __device__ __forceinline__ void attend() {
    fillRing();
    Cursor here = firstItem();
    uint4 q[chunks];
    if (here.there)
      Split::loadQuery(q, here.item);
    int count = 0;
    for (; here.there; ++count) {
      const Item item = here.item;
      Running run;
      for (int key = item.key; key < item.end; key += 32)
        addBlock(run, q, key, item.position);
      nextItem(here);
      if (here.there)
        Split::loadQuery(q, here.item);
      if (count >= 2)
        meet(spansRead + count % 2);
      storeSpan(run, shared.spans[count % 2]);
      announce(spansThere + count % 2);
    }
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
    Split::finishScores(s, key, position);
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

/// Records of splits, and how many of a unit are there: zero before and after every launch.
template <class S>
__device__ float streamScratch[u64(AttentionStream<S>::mostRows) * S::heads * AttentionStream<S>::maxSplits *
                               AttentionStream<S>::record];
template <class S> __device__ u32 streamCounters[AttentionStream<S>::mostRows * AttentionStream<S>::slots];

template <class S>
__device__ __forceinline__ float *AttentionStream<S>::scratch(int row, int head, int split) {
  return streamScratch<S> + ((u64(row) * S::heads + head) * maxSplits + split) * record;
}
template <class S> __device__ __forceinline__ u32 *AttentionStream<S>::counter(int unit) {
  return streamCounters<S> + unit;
}

/// Grid: any number of blocks of 160 threads.
template <class S> __device__ void attention_stream(const Args &args, const StepView &step) {
  __shared__ typename AttentionStream<S>::Shared shared;
  letNextStart();
  AttentionStream<S>{{args, step}, shared}.run();
}

} // namespace fusebox
