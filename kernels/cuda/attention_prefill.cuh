// Attention of many tokens over the paged KV cache, bf16, on tensor cores with an online softmax.
//
// A block takes 128 queries of one sequence and head, 16 a warp, and walks the keys in blocks of 64 at
// absolute positions, which are the pages. Scores are f32; a running maximum, exp(s - max) rounded to bf16
// before the product with V, sums in f32, one division and one rounding at the end: the contract's rounding
// points. Rows don't meet, so the bits of a token depend neither on how a prompt was cut into steps nor on
// what else is in the step.
#pragma once
#include "attention_wgmma.cuh"
#include "base.cuh"
#include "kv_cache.cuh"
#include "tiles.cuh"
#include "wgmma.cuh"

namespace fusebox {

/// S: heads, kvHeads, headDim (a multiple of 16, at most 256), type (bf16), stages, scale, window (0: none),
/// softcap (0: none). args: out [tokens, heads * headDim], q, kv pool of the layer. Grid: (any number, heads)
/// blocks of 256 threads, AttentionPrefill<S>::sharedBytes of dynamic shared memory.
template <class S> struct AttentionPrefill {
  static constexpr int queries = 128, keys = kvPageTokens, dim = S::headDim, steps = dim / 16;
  using Layout = TileLayout<dim>;
  static constexpr int tileBytes = keys * dim * 2;
  static constexpr int sharedBytes = 4 * tileBytes; ///< keys and values, two stages
  static_assert(dim % 16 == 0 && S::type == dtBF16);

  const Args &args;
  const StepView &step;
  const u32 shared = dynamicShared();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int head = blockIdx.y, kvHead = head / (S::heads / S::kvHeads);
  int sequence, firstRow, endRow, firstPosition; // the block's rows of the step; position of firstRow

  /// Starts the copies of a page's keys and values.
  __device__ __forceinline__ void copyPage(int index, int stage) const {
    const int page = __ldcg(step.blockTable + u64(sequence) * step.maxPages + index);
    const u16 *from = static_cast<const u16 *>(args.p[2]) + KvLayout<S>::key(page, kvHead, 0);
    const u32 to = shared + u32(stage * 2 * tileBytes);
    for (int item = threadIdx.x; item < keys * Layout::chunks; item += 256) {
      const int row = item / Layout::chunks, chunk = item % Layout::chunks;
      const u16 *source = from + row * dim + KvLayout<S>::column(row, chunk * 8);
      // Keys past the last query may never have been written; they must read as numbers.
      const bool inside = index * keys + row < firstPosition + endRow - firstRow;
      copyAsync(Layout::at(to, row, chunk), source, inside);
      copyAsync(Layout::at(to + tileBytes, row, chunk), source + KvLayout<S>::valueOffset, inside);
    }
  }

  static constexpr bool keepQueries = dim <= 128; ///< in registers; else they are read again for every page
  static constexpr int kept = keepQueries ? steps : 1;

  /// This warp's 16 queries as fragments: columns 16 k to 16 k + 15.
  __device__ __forceinline__ void loadQuery(u32 (&q)[4], int k) const {
    const int row = firstRow + warp * 16 + g;
    const u16 *low = static_cast<const u16 *>(args.p[1]) + (u64(row) * S::heads + head) * dim + 2 * t;
    const u16 *high = low + u64(8) * S::heads * dim;
    auto word = [](const u16 *p, bool inside) {
      return inside ? __ldcg(reinterpret_cast<const u32 *>(p)) : 0u;
    };
    q[0] = word(low + k * 16, row < endRow);
    q[1] = word(high + k * 16, row + 8 < endRow);
    q[2] = word(low + k * 16 + 8, row < endRow);
    q[3] = word(high + k * 16 + 8, row + 8 < endRow);
  }

  struct Running {
    float maximum[2], sum[2] = {0.f, 0.f}; // of rows g and g + 8
    float values[dim / 8][4] = {};
  };

  __device__ __forceinline__ void scores(float (&s)[8][4], u32 (&fragments)[kept][4], u32 tile) const {
#pragma unroll
    for (int k = 0; k < steps; ++k) {
      u32(&q)[4] = fragments[keepQueries ? k : 0];
      if constexpr (!keepQueries)
        loadQuery(q, k);
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        u32 b[4];
        loadMatrices(b, Layout::at(tile, n * 16 + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
        mma(s[2 * n], q[0], q[1], q[2], q[3], b[0], b[1]);
        mma(s[2 * n + 1], q[0], q[1], q[2], q[3], b[2], b[3]);
      }
    }
  }

  /// Scales, caps and masks the scores of a page; updates the maxima; turns scores into weights and sums
  /// them.
  __device__ __forceinline__ void weights(Running &run, float (&s)[8][4], int firstKey) const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int position = firstPosition + warp * 16 + g + r * 8;
      float top = run.maximum[r];
#pragma unroll
      for (int n = 0; n < 8; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float &score = s[n][r * 2 + i];
          const int key = firstKey + n * 8 + 2 * t + i;
          score = __fmul_rn(score, S::scale);
          if constexpr (S::softcap > 0.f)
            score = S::softcap * tanhf(score / S::softcap);
          if (key > position || (S::window > 0 && key <= position - S::window))
            score = negativeInfinity();
          top = fmaxf(top, score);
        }
      top = quadMax(top);
      const float base = top == negativeInfinity() ? 0.f : top, shrink = __expf(run.maximum[r] - base);
      run.maximum[r] = top;
      run.sum[r] *= shrink;
#pragma unroll
      for (int n = 0; n < 8; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          s[n][r * 2 + i] = __expf(s[n][r * 2 + i] - base);
          run.sum[r] += s[n][r * 2 + i];
        }
#pragma unroll
      for (int d = 0; d < dim / 8; ++d)
        run.values[d][r * 2] *= shrink, run.values[d][r * 2 + 1] *= shrink;
    }
  }

  __device__ __forceinline__ void addValues(Running &run, const float (&s)[8][4], u32 tile) const {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const u32 a0 = packBf16(s[2 * k][0], s[2 * k][1]), a1 = packBf16(s[2 * k][2], s[2 * k][3]);
      const u32 a2 = packBf16(s[2 * k + 1][0], s[2 * k + 1][1]),
                a3 = packBf16(s[2 * k + 1][2], s[2 * k + 1][3]);
#pragma unroll
      for (int d = 0; d < dim / 16; ++d) {
        u32 b[4];
        loadMatricesTransposed(b, Layout::at(tile, k * 16 + lane % 16, 2 * d + lane / 16));
        mma(run.values[2 * d], a0, a1, a2, a3, b[0], b[1]);
        mma(run.values[2 * d + 1], a0, a1, a2, a3, b[2], b[3]);
      }
    }
  }

  __device__ __forceinline__ void finish(Running &run) const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float sum = run.sum[r];
      sum = quadSum(sum);
      const int row = firstRow + warp * 16 + g + r * 8;
      if (row >= endRow)
        continue;
      u16 *out = static_cast<u16 *>(args.p[0]) + (u64(row) * S::heads + head) * dim + 2 * t;
#pragma unroll
      for (int d = 0; d < dim / 8; ++d)
        *reinterpret_cast<u32 *>(out + d * 8) =
            packBf16(__fdividef(run.values[d][r * 2], sum), __fdividef(run.values[d][r * 2 + 1], sum));
    }
  }

  /// The block's current queries over their keys.
  __device__ __forceinline__ void runTile() const {
    u32 q[kept][4];
    if constexpr (keepQueries)
#pragma unroll
      for (int k = 0; k < steps; ++k)
        loadQuery(q[k], k);
    Running run;
    run.maximum[0] = run.maximum[1] = negativeInfinity();
    const int lastPage = (firstPosition + endRow - firstRow - 1) / keys;
    const int firstPage = S::window > 0 ? max(0, firstPosition + 1 - S::window) / keys : 0;
    copyPage(firstPage, 0);
    commitCopies();
#pragma unroll 1
    for (int page = firstPage; page <= lastPage; ++page) {
      const int stage = (page - firstPage) & 1;
      if (page < lastPage)
        copyPage(page + 1, stage ^ 1);
      commitCopies();
      waitCopies<1>();
      __syncthreads();
      const u32 tile = shared + u32(stage * 2 * tileBytes);
      float s[8][4] = {};
      scores(s, q, tile);
      weights(run, s, page * keys);
      addValues(run, s, tile + tileBytes);
      __syncthreads();
    }
    finish(run);
  }

  /// Deals the tiles of all sequences, the longest context first, to the blocks of a row of the grid.
  __device__ __forceinline__ void run() {
    int item = blockIdx.x;
    for (sequence = 0; sequence < step.sequences; ++sequence) {
      const int begin = __ldcg(step.sequenceStart + sequence),
                end = __ldcg(step.sequenceStart + sequence + 1);
      const int tiles = divideUp(end - begin, queries);
      for (; item < tiles; item += gridDim.x) {
        firstRow = begin + (tiles - 1 - item) * queries;
        endRow = min(firstRow + queries, end);
        firstPosition = __ldcg(step.position + firstRow);
        if (firstPosition >= 0)
          runTile();
      }
      item -= tiles;
    }
  }
};

/// Which kernel runs: the Hopper one where S::stages, the pages it has on their way, says that the launch has
/// the shared memory for it. Both run with one geometry, so a plan's source fits every chip.
template <class S> struct PrefillChoice {
#ifdef FUSEBOX_WGMMA
  static constexpr bool hopper = S::stages > 0;
#else
  static constexpr bool hopper = false;
#endif
  static constexpr int minBlocks = hopper && S::headDim == 64 ? 2 : 1;
};

template <class S> __device__ void attention_prefill(const Args &args, const StepView &step) {
  letNextStart();
  waitForInputs();
#ifdef FUSEBOX_WGMMA
  if constexpr (PrefillChoice<S>::hopper) {
    AttentionWgmma<S>{args, step}.run();
    return;
  }
#endif
  AttentionPrefill<S>{args, step}.run();
}

} // namespace fusebox
