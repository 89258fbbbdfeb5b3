// Attention of many tokens on Hopper's tensor cores: attention_prefill.cuh, which has the contract, for heads
// of 64 or 128 columns. Two warpgroups of 64 queries share the keys and values. While the tensor cores
// multiply one page's weights with its values, the next page's scores become weights.
#pragma once
#include "base.cuh"
#include "kv_cache.cuh"
#include "tiles.cuh"
#include "wgmma.cuh"

namespace fusebox {

#ifdef FUSEBOX_WGMMA

/// S, args: as AttentionPrefill, stages at least 4. Grid: (any number, heads) blocks of 256 threads.
template <class S> struct AttentionWgmma {
  static constexpr int queries = 128, stages = S::stages, keys = kvPageTokens, dim = S::headDim,
                       chunks = dim / 8;
  static constexpr u32 columnBlock = keys * 128, tileBytes = keys * dim * 2; ///< 64 columns; all columns
  static_assert((dim == 64 || dim == 128) && stages >= 4);

  const Args &args;
  const StepView &step;
  const u32 shared = (dynamicShared() + 1023) & ~1023u;
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  int head, sequence, firstRow, endRow, firstPosition; // the block's rows of the step; position of firstRow

  /// Queries of this group, then the stages of keys and values, a page each: tiles of [dim / 64][64 rows][64
  /// columns].
  __device__ __forceinline__ u32 queryTile() const { return shared + u32(group) * tileBytes; }
  __device__ __forceinline__ u32 keyTile(int index) const {
    return shared + u32(2 + 2 * (index % stages)) * tileBytes;
  }
  static __device__ __forceinline__ u32 place(u32 tile, int row, int chunk) {
    return SwizzledTile::at(tile + u32(chunk / 8) * columnBlock, row, chunk % 8);
  }

  __device__ __forceinline__ void copyQueries() const {
    const u16 *from = static_cast<const u16 *>(args.p[1]);
#pragma unroll 1
    for (int i = 0; i < chunks / 2; ++i) {
      const int item = i * 128 + threadIdx.x % 128, row = item / chunks, chunk = item % chunks,
                source = firstRow + group * 64 + row;
      const bool inside = source < endRow;
      copyAsync(place(queryTile(), row, chunk),
                from + (inside ? (u64(source) * S::heads + head) * dim + chunk * 8 : 0), inside);
    }
  }

  /// Starts the copies of a page's keys and values.
  __device__ __forceinline__ void copyPage(int index) const {
    const int page = __ldcg(step.blockTable + u64(sequence) * step.maxPages + index),
              kvHead = head / (S::heads / S::kvHeads);
    const u16 *from = static_cast<const u16 *>(args.p[2]) + KvLayout<S>::key(page, kvHead, 0);
    const u32 to = keyTile(index);
#pragma unroll 1
    for (int i = 0; i < chunks / 4; ++i) {
      const int item = i * 256 + threadIdx.x, row = item / chunks, chunk = item % chunks;
      const u16 *source = from + row * dim + KvLayout<S>::column(row, chunk * 8);
      // Keys past the last query may never have been written; they must read as numbers.
      const bool inside = index * keys + row < firstPosition + endRow - firstRow;
      copyAsync(place(to, row, chunk), source, inside);
      copyAsync(place(to + tileBytes, row, chunk), source + KvLayout<S>::valueOffset, inside);
    }
  }

  struct Running {
    float maximum[2], sum[2] = {0.f, 0.f}; // of this lane's two rows
    float values[dim / 2] = {};
  };

  static constexpr float lowest = -1e30f; ///< stands for "no key yet"; 2 to its power is 0
  static constexpr float log2e = 1.4426950408889634f;
  /// exp(scale * s) is 2^(factor * s).
  static constexpr float factor = S::softcap > 0.f ? log2e : S::scale *log2e;

  static __device__ __forceinline__ float powerOf2(float v) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(v));
    return power;
  }

  /// What the exponents of a row count from.
  static __device__ __forceinline__ float exponentOf(float maximum) { return __fmul_rn(maximum, factor); }

  __device__ __forceinline__ void mask(float (&s)[32], int position, int r, int firstKey) const {
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int key = firstKey + i / 2 * 8 + lane % 4 * 2 + i % 2;
      if (key > position || (S::window > 0 && key <= position - S::window))
        s[i / 2 * 4 + r * 2 + i % 2] = negativeInfinity();
    }
  }

  /// A page's weights as the left operand of its values, and what the sums before it shrink by.
  struct Weights {
    u32 a[4][4];
    float shrink[2];
  };

  /// Turns the scores of a page into weights and sums them.
  __device__ __forceinline__ Weights weigh(Running &run, float (&s)[32], int firstKey,
                                           int groupPosition) const {
    if constexpr (S::softcap > 0.f)
#pragma unroll
      for (int i = 0; i < 32; ++i)
        s[i] = S::softcap * tanhf(__fmul_rn(s[i], S::scale) / S::softcap);
    const bool masked =
        firstKey + keys - 1 > groupPosition || (S::window > 0 && firstKey <= groupPosition + 63 - S::window);
    Weights weights;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (masked)
        mask(s, groupPosition + warp * 16 + lane / 4 + r * 8, r, firstKey);
      float top = run.maximum[r];
#pragma unroll
      for (int i = 0; i < 16; ++i)
        top = fmaxf(top, s[i / 2 * 4 + r * 2 + i % 2]);
      top = quadMax(top);
      // Exactly 1 while the maximum stays, so that a page without any key in sight changes nothing.
      const float base = exponentOf(top), shrink = powerOf2(exponentOf(run.maximum[r]) - base);
      run.maximum[r] = top;
      float sum = 0.f;
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        float &score = s[i / 2 * 4 + r * 2 + i % 2];
        score = powerOf2(__fmaf_rn(score, factor, -base));
        sum += score;
      }
      run.sum[r] = __fmaf_rn(run.sum[r], shrink, sum);
      weights.shrink[r] = shrink;
    }
#pragma unroll
    for (int i = 0; i < 16; ++i)
      weights.a[i / 4][i % 4] = packBf16(s[2 * i], s[2 * i + 1]);
    return weights;
  }

  /// Starts the product of the queries with a page's keys.
  __device__ __forceinline__ void beginScores(float (&s)[32], int index) const {
#pragma unroll
    for (int i = 0; i < 32; ++i)
      s[i] = 0.f;
    beginProducts();
#pragma unroll
    for (int k = 0; k < dim / 16; ++k) {
      const u32 column = u32(k / 4) * columnBlock + u32(k % 4) * 32;
      multiplyTiles<64>(s, operandAt(queryTile() + column), operandAt(keyTile(index) + column));
    }
    commitProducts();
  }

  /// Starts the product of a page's weights with its values.
  __device__ __forceinline__ void beginValues(Running &run, const Weights &weights, int index) const {
    const u32 tile = keyTile(index) + tileBytes;
    beginProducts();
#pragma unroll
    for (int k = 0; k < 4; ++k)
      multiplyRows<dim>(run.values, weights.a[k], operandAt(tile + k * 2048, columnBlock));
    commitProducts();
  }

  /// Ends it; the weights' registers must last until then.
  static __device__ __forceinline__ void endValues(Running &run, const Weights &weights) {
    waitProducts<0>(run.values);
#pragma unroll
    for (int i = 0; i < 16; ++i)
      asm volatile("" ::"r"(weights.a[i / 4][i % 4]));
  }

  static __device__ __forceinline__ void shrinkValues(Running &run, const float (&shrink)[2]) {
#pragma unroll
    for (int i = 0; i < dim / 2; ++i)
      run.values[i] *= shrink[i / 2 % 2];
  }

  __device__ __forceinline__ void finish(Running &run) const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float sum = run.sum[r];
      sum = quadSum(sum);
      const int row = firstRow + group * 64 + warp * 16 + lane / 4 + r * 8;
      if (row >= endRow)
        continue;
      u16 *out = static_cast<u16 *>(args.p[0]) + (u64(row) * S::heads + head) * dim + lane % 4 * 2;
#pragma unroll
      for (int d = 0; d < dim / 8; ++d)
        *reinterpret_cast<u32 *>(out + d * 8) = packBf16(__fdividef(run.values[d * 4 + r * 2], sum),
                                                         __fdividef(run.values[d * 4 + r * 2 + 1], sum));
    }
  }

  /// The whole block: waits for a page, and starts the copies of the page after the next, whose stage's last
  /// page every warp is done with.
  __device__ __forceinline__ void turn(int index, int lastPage) const {
    waitCopies<1>();
    publishShared();
    __syncthreads();
    if (index + 2 <= lastPage)
      copyPage(index + 2);
    commitCopies();
  }

  /// The block's current queries over their keys. A group's own pages are those its queries see.
  __device__ __forceinline__ void runTile() const {
    const int groupPosition = firstPosition + group * 64;
    const int lastPage = (firstPosition + endRow - firstRow - 1) / keys,
              groupLast = min(lastPage, (groupPosition + 63) / keys);
    const int firstPage = S::window > 0 ? max(0, firstPosition + 1 - S::window) / keys : 0,
              groupFirst = S::window > 0 ? max(0, groupPosition + 1 - S::window) / keys : 0;
    Running run;
    run.maximum[0] = run.maximum[1] = lowest;
    __syncthreads(); // the tile before is read
    copyQueries();
    copyPage(firstPage);
    commitCopies();
    if (firstPage < lastPage)
      copyPage(firstPage + 1);
    commitCopies();
    int index = firstPage;
    for (; index < groupFirst; ++index)
      turn(index, lastPage);
    turn(index, lastPage);
    float s[32];
    beginScores(s, index);
    waitProducts<0>(s);
    Weights weights = weigh(run, s, index * keys, groupPosition);
#pragma unroll 1
    for (++index; index <= groupLast; ++index) {
      turn(index, lastPage);
      beginScores(s, index);
      beginValues(run, weights, index - 1);
      waitProducts<1>(s);
      Weights next = weigh(run, s, index * keys, groupPosition);
      endValues(run, weights);
      shrinkValues(run, next.shrink);
      weights = next;
    }
    beginValues(run, weights, groupLast);
    endValues(run, weights);
    for (; index <= lastPage; ++index)
      turn(index, lastPage);
    finish(run);
  }

  /// Takes tile `item` of the list of all sequences' tiles, those with the longest context first; false
  /// behind the last.
  __device__ __forceinline__ bool runItem(int item) {
    for (sequence = 0; sequence < step.sequences; ++sequence) {
      const int begin = __ldcg(step.sequenceStart + sequence),
                end = __ldcg(step.sequenceStart + sequence + 1);
      const int tiles = divideUp(end - begin, queries);
      if (item < tiles) {
        firstRow = begin + (tiles - 1 - item) * queries;
        endRow = min(firstRow + queries, end);
        firstPosition = __ldcg(step.position + firstRow);
        if (firstPosition >= 0)
          runTile();
        return true;
      }
      item -= tiles;
    }
    return false;
  }

  /// Blocks in the order in which they start take the tiles with the longest context first.
  __device__ __forceinline__ void run() {
    const int block = blockIdx.y * gridDim.x + blockIdx.x;
    head = block % S::heads;
    for (int item = block / S::heads; runItem(item); item += gridDim.x) {
    }
  }
};

#endif // FUSEBOX_WGMMA

} // namespace fusebox
