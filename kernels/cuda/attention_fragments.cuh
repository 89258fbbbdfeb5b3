// Attention of few tokens with keys and values in registers, as fragments of tensor cores, a block of 32 keys
// at a time. What attention_decode and decode_loop have in common.
#pragma once
#include "attention_split.cuh"

namespace fusebox {

/// S: as AttentionSplit.
template <class S, int ItemHeads = 8> struct AttentionFragments : AttentionSplit<S, ItemHeads> {
  using Split = AttentionSplit<S, ItemHeads>;
  using Split::args, Split::lane, Split::g, Split::t, Split::warp;
  using Split::chunks, Split::heldHeads, Split::warps;
  using typename Split::Item, typename Split::Running, typename Split::Spans;
  static constexpr int halves = S::headDim / 64;

  struct Block {
    uint4 k[4][chunks], v[2][4][halves];
  };

  // Rows have their columns in an order that repeats every 64 columns and 8 rows (KvLayout::column): few
  // places are computed, the others are constant distances from them.

  /// Keys of a block; load(i) gives 8 elements, i counted from the block's first key.
  template <class Load> __device__ __forceinline__ void loadKeys(Block &block, Load load) const {
    const int row = g * S::headDim,
              place[2] = {row + KvLayout<S>::column(g, t * 8), row + KvLayout<S>::column(g, 32 + t * 8)};
#pragma unroll
    for (int c = 0; c < chunks; ++c)
#pragma unroll
      for (int n = 0; n < 4; ++n)
        block.k[n][c] = load(place[c % 2] + c / 2 * 64 + n * 8 * S::headDim);
  }

  /// Values of keys 2t, 2t+1, 2t+8, 2t+9 of half block b, i counted from the block's first value; keys that
  /// the token does not see read as 0.
  template <class Load>
  __device__ __forceinline__ void loadValues(Block &block, int b, int key, int position, Load load) const {
    int place[2];
#pragma unroll
    for (int i = 0; i < 2; ++i)
      place[i] = (2 * t + i) * S::headDim + KvLayout<S>::column(2 * t + i, g * 8);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int first = 16 * b + i / 2 * 8; // rows 2t and 2t + 1 from here
      const bool seen = key + first + 2 * t + i % 2 <= position;
#pragma unroll
      for (int h = 0; h < halves; ++h)
        block.v[b][i][h] = seen ? load(place[i % 2] + first * S::headDim + h * 64) : uint4{0, 0, 0, 0};
    }
  }

  /// Scores of a block's 32 keys.
  __device__ __forceinline__ void scores(float (&s)[4][4], const uint4 (&q)[chunks], const Block &block,
                                         int key, int position) const {
#pragma unroll
    for (int c = 0; c < chunks; ++c)
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        mma(s[n], q[c].x, 0u, q[c].y, 0u, block.k[n][c].x, block.k[n][c].y);
        mma(s[n], q[c].z, 0u, q[c].w, 0u, block.k[n][c].z, block.k[n][c].w);
      }
    Split::template finishScores<true>(s, key, position);
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
  __device__ __forceinline__ void storeSpan(Spans &spans, Running &run) const {
    run.sum = quadSum(run.sum);
    if (t == 0)
      spans.maximum[warp][g] = run.maximum, spans.sum[warp][g] = run.sum;
#pragma unroll
    for (int i = 0; i < 2; ++i)
      if (2 * t + i < heldHeads)
#pragma unroll
        for (int j = 0; j < halves * 4; j += 4) {
          float4 *values = reinterpret_cast<float4 *>(spans.values[warp][2 * t + i] + j * 16 + g * 8);
          values[0] =
              float4{run.values[j][i], run.values[j + 1][i], run.values[j + 2][i], run.values[j + 3][i]};
          values[1] = float4{run.values[j][i + 2], run.values[j + 1][i + 2], run.values[j + 2][i + 2],
                             run.values[j + 3][i + 2]};
        }
  }

  /// Columns d and d + 1 of a head: the spans joined in order.
  static __device__ __forceinline__ float2 joinColumns(const Spans &spans, int head, int d, float &top,
                                                       float &sum) {
    float factor[warps];
    Split::spanFactors(spans, head, factor, top, sum);
    float2 value = {0.f, 0.f};
#pragma unroll
    for (int w = 0; w < warps; ++w) {
      const float2 v = *reinterpret_cast<const float2 *>(spans.values[w][head] + d);
      value = {__fmaf_rn(v.x, factor[w], value.x), __fmaf_rn(v.y, factor[w], value.y)};
    }
    return value;
  }
};

} // namespace fusebox
