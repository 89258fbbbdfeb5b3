// What the kernels for attention of few tokens have in common: how the context is cut and dealt to blocks,
// and the arithmetic, so that both give the same bits. attention_decode suits short contexts,
// attention_stream long ones.
//
// The context is cut at absolute positions: into splits, a split into 4 equal spans, one a warp, a span into
// blocks of 32 keys. Scores are f32; within a span a running maximum, exp(s - max) rounded to bf16 before the
// product with V, sums in f32; spans, then splits are joined in a fixed order and the quotient is rounded
// once. So the bits depend on the position alone: not on the batch, the grid or the run.
//
// The work items (token, kv head, some of its query heads, split) are dealt to a grid of any size, so a
// captured graph serves every length.
#pragma once
#include "kv_cache.cuh"

namespace fusebox {

/// S: heads, kvHeads, headDim (64 or 128), type (bf16), scale, window (0: none), softcap (0: none).
/// An item is for ItemHeads (at most 8) of a kv head's query heads.
/// args: out [tokens, heads * headDim], q, kv pool of the layer. At most 16 tokens.
template <class S, int ItemHeads = 8> struct AttentionSplit {
  static constexpr int warps = 4, groupHeads = S::heads / S::kvHeads,
                       headGroups = divideUp(groupHeads, ItemHeads);
  static constexpr int slots = S::kvHeads * headGroups,
                       heldHeads = groupHeads < ItemHeads ? groupHeads : ItemHeads;
  static constexpr int chunks = S::headDim / 32, tiles = S::headDim / 16;
  static constexpr int mostRows = 16, maxSplits = 64;
  static_assert(S::headDim == 64 || S::headDim == 128, "registers hold the sums of no larger head");

  /// The first key a token may see.
  static __device__ __forceinline__ int firstKey(int position) {
    return S::window > 0 ? max(0, position + 1 - S::window) : 0;
  }
  /// Tokens of a split: 128 up to 8,192 tokens, then what makes maxSplits of them.
  static __device__ __forceinline__ int splitTokens(int position) {
    return divideUp(divideUp(position + 1, maxSplits), 32 * warps) * 32 * warps;
  }

  static __device__ __forceinline__ int firstSplit(int position) {
    return firstKey(position) / splitTokens(position);
  }
  static __device__ __forceinline__ int splitsOf(int position) {
    return position / splitTokens(position) - firstSplit(position) + 1;
  }

  /// One item of work, as this warp sees it.
  struct Item {
    int row, position, kvHead, firstHead, headCount, slot;
    int split, firstSplit, splits;
    int key, end; ///< the next block of this warp's span starts at key; none if key >= end
  };

  /// Where the block stands among the items dealt to it: `index` counts from `row` on.
  struct Cursor {
    int row, index;
    bool there;
    Item item;
  };

  const Args &args;
  const StepView &step;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  // Of row `lane`: position and sequence, tokens of a split, the first split, how many there are. Divisions
  // take long, so each warp does them once.
  int rowPosition = -1, rowSequence = 0, rowTokens = 0, rowFirst = 0, rowSplits = 0;

  /// Of a span, so far.
  struct Running {
    float maximum = negativeInfinity(), sum = 0.f; // of head g
    float values[tiles][4] = {}; // of heads 2t, 2t+1 in [0], [1], and of these again in [2], [3]
  };

  /// Spans of a split, that the warps leave for joining.
  struct Spans {
    __align__(16) float values[warps][heldHeads][S::headDim];
    float maximum[warps][8], sum[warps][8];
  };

  /// The factors by which a head's spans are joined, in order; their maximum, and their sum so joined.
  static __device__ __forceinline__ void spanFactors(const Spans &spans, int head, float (&factor)[warps],
                                                     float &top, float &sum) {
    top = spans.maximum[0][head], sum = 0.f;
#pragma unroll
    for (int w = 1; w < warps; ++w)
      top = fmaxf(top, spans.maximum[w][head]);
#pragma unroll
    for (int w = 0; w < warps; ++w) {
      factor[w] = spans.maximum[w][head] == negativeInfinity() ? 0.f : __expf(spans.maximum[w][head] - top);
      sum = __fmaf_rn(spans.sum[w][head], factor[w], sum);
    }
  }

  /// The weights of a head's splits over the sum of all, lanes over splits: from their maxima, in whose place
  /// they come (minus infinity where there is no split), and sums.
  static constexpr int splitRounds = maxSplits / 32;
  static __device__ __forceinline__ void splitWeights(float (&maximum)[splitRounds],
                                                      const float (&sum)[splitRounds]) {
    float top = negativeInfinity(), total = 0.f;
#pragma unroll
    for (int i = 0; i < splitRounds; ++i)
      top = fmaxf(top, maximum[i]);
    top = warpMax(top);
#pragma unroll
    for (int i = 0; i < splitRounds; ++i) {
      maximum[i] = maximum[i] == negativeInfinity() ? 0.f : __expf(maximum[i] - top);
      total = __fmaf_rn(sum[i], maximum[i], total);
    }
    total = warpSum(total);
#pragma unroll
    for (int i = 0; i < splitRounds; ++i)
      maximum[i] = __fdividef(maximum[i], total);
  }

  /// Positions and sequences of the rows, a lane each. Steps are on the device before the first kernel
  /// starts, so this does not wait for the kernel's input.
  __device__ __forceinline__ void readRows() {
    if (lane < step.tokens)
      rowPosition = __ldg(step.position + lane), rowSequence = __ldg(step.tokenSequence + lane);
    if (rowPosition >= 0) {
      rowTokens = splitTokens(rowPosition);
      rowFirst = firstSplit(rowPosition);
      rowSplits = splitsOf(rowPosition);
    }
  }
  /// One of these, of a row.
  static __device__ __forceinline__ int ofRow(int value, int row) {
    return __shfl_sync(0xffffffffu, value, row);
  }

  /// Item `index` of a row whose position and splits, of so many tokens, are set.
  __device__ __forceinline__ void placeItem(Item &item, int index, int tokens) const {
    item.slot = index % slots, item.split = item.firstSplit + index / slots;
    item.kvHead = item.slot / headGroups;
    item.firstHead = item.kvHead * groupHeads + item.slot % headGroups * ItemHeads;
    item.headCount = min(ItemHeads, groupHeads - item.slot % headGroups * ItemHeads);
    const int span = tokens / warps, begin = item.split * tokens + warp * span;
    item.key = max(begin, firstKey(item.position) / 32 * 32);
    item.end = min(begin + span, item.position + 1);
  }

  /// The item `at` stands at, or the first behind it; not there behind the last.
  __device__ __forceinline__ void findItem(Cursor &at) const {
    Item &item = at.item;
    for (; at.row < step.tokens; ++at.row) {
      item.splits = ofRow(rowSplits, at.row);
      if (at.index >= slots * item.splits) {
        at.index -= slots * item.splits;
        continue;
      }
      item.row = at.row;
      item.position = ofRow(rowPosition, at.row);
      item.firstSplit = S::window > 0 ? ofRow(rowFirst, at.row) : 0;
      placeItem(item, at.index, ofRow(rowTokens, at.row));
      return;
    }
    at.there = false;
  }
  __device__ __forceinline__ Cursor firstItem() const {
    Cursor at = {0, int(blockIdx.x), true, {}};
    findItem(at);
    return at;
  }
  __device__ __forceinline__ void nextItem(Cursor &at) const {
    at.index += gridDim.x;
    findItem(at);
  }

  /// The page of the item's next block.
  __device__ __forceinline__ int blockPage(const Item &item) const {
    const int sequence = ofRow(rowSequence, item.row);
    return item.key < item.end
               ? __ldg(step.blockTable + u64(sequence) * step.maxPages + item.key / kvPageTokens)
               : 0;
  }

  /// Whether the item's next block was in the cache before this step.
  __device__ __forceinline__ bool isOld(const Item &item) const {
    const int sequence = ofRow(rowSequence, item.row);
    const int first = ofRow(rowPosition, __ldg(step.sequenceStart + sequence));
    return item.key + 32 <= first;
  }

  /// Elements c * 32 + 8 t to + 7 of head g of an item's queries.
  __device__ __forceinline__ void loadQuery(uint4 (&q)[chunks], const Item &item) const {
    const u16 *query =
        static_cast<const u16 *>(args.p[1]) + (u64(item.row) * S::heads + item.firstHead + g) * S::headDim;
#pragma unroll
    for (int c = 0; c < chunks; ++c)
      q[c] = g < item.headCount ? loadVector(query + c * 32 + t * 8) : uint4{0, 0, 0, 0};
  }

  /// Sums of a block's 32 keys to scores: scaled, capped, masked; not Masked: if the token sees them all.
  template <bool Masked>
  __device__ __forceinline__ void finishScores(float (&s)[4][4], int key, int position) const {
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int at = key + n * 8 + 2 * t + i;
        float score = __fmul_rn(s[n][i], S::scale);
        if constexpr (S::softcap > 0.f)
          score = S::softcap * tanhf(score / S::softcap);
        s[n][i] = !Masked || (at <= position && at >= firstKey(position)) ? score : negativeInfinity();
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
    for (int j = 0; j < tiles; ++j) {
      run.values[j][0] *= shrink0, run.values[j][1] *= shrink1;
      run.values[j][2] *= shrink0, run.values[j][3] *= shrink1;
    }
  }
};

} // namespace fusebox
