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

  /// Keys of a block; load(i) gives 8 elements, i counted from the block's first key.
  template <class Load> __device__ __forceinline__ void loadKeys(Block &block, Load load) const {
#pragma unroll
    for (int c = 0; c < chunks; ++c)
#pragma unroll
      for (int n = 0; n < 4; ++n)
        block.k[n][c] = load((n * 8 + g) * S::headDim + KvLayout<S>::column(g, c * 32 + t * 8));
  }

  /// Values of keys 2t, 2t+1, 2t+8, 2t+9 of half block b, i counted from the block's first value; keys that
  /// the token does not see read as 0.
  template <class Load>
  __device__ __forceinline__ void loadValues(Block &block, int b, int key, int position, Load load) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int at = 2 * t + (i & 1) + (i >> 1) * 8;
#pragma unroll
      for (int h = 0; h < halves; ++h)
        block.v[b][i][h] = key + 16 * b + at <= position
                               ? load((16 * b + at) * S::headDim + KvLayout<S>::column(at, h * 64 + g * 8))
                               : uint4{0, 0, 0, 0};
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
    for (int j = 0; j < halves * 4; ++j) {
      const int d = j / 4 * 64 + g * 8 + j % 4;
      if (2 * t < heldHeads)
        spans.values[warp][2 * t][d] = run.values[j][0], spans.values[warp][2 * t][d + 4] = run.values[j][2];
      if (2 * t + 1 < heldHeads)
        spans.values[warp][2 * t + 1][d] = run.values[j][1],
                                   spans.values[warp][2 * t + 1][d + 4] = run.values[j][3];
    }
  }

  /// Column d of a head: the spans joined in order.
  static __device__ __forceinline__ void joinElement(const Spans &spans, int head, int d, float &top,
                                                     float &sum, float &value) {
    float factor[warps];
    Split::spanFactors(spans, head, factor, top, sum);
    value = 0.f;
#pragma unroll
    for (int w = 0; w < warps; ++w)
      value = __fmaf_rn(spans.values[w][head][d], factor[w], value);
  }
};

} // namespace fusebox
