// How decode_loop deals the rows of its matrices to blocks, and cuts them into tiles; and how a warp holds
// what it multiplies them with.
#pragma once
#include "base.cuh"

namespace fusebox {

/// How a product's rows of weights are dealt: in units of 8 outputs, whose weights are one piece of 8 rows,
/// or one of gate and one of up. Blocks have `least` units, and the `extra` from block `FirstExtra` on one
/// more. P: shape of linear_skinny.
template <class S, class P, int FirstExtra> struct LoopProduct {
  using Shape = P;
  static constexpr int halves = P::stacked ? 2 : 1, span = P::in / halves;
  static constexpr int perWarp = divideUp(divideUp(span, 32), 8);
  static constexpr int outputs = P::glu ? P::part0 : P::part0 + P::part1 + P::part2;
  static constexpr int units = outputs / 8, least = units / S::blocks, extra = units % S::blocks,
                       most = least + (extra > 0), firstExtra = FirstExtra % S::blocks,
                       nextExtra = firstExtra + extra;
  static constexpr int unitPieces = P::glu ? 2 : 1, tilePieces = P::stacked ? 1 : 2;
  static constexpr int rowBytes = P::in * 2, pieceBytes = 8 * rowBytes,
                       pieceSlots = divideUp(pieceBytes, S::slotBytes);
  static constexpr int mostTiles = divideUp(most * unitPieces, tilePieces);
  /// Tiles whose weights wait in registers for the input: what fits into some 100 registers, or one tile, but
  /// none of long rows, and what the ring holds, as they are released together. The others' come by `group`
  /// chunks.
  static constexpr int fitting = 24 / (2 * perWarp), wanted = fitting > 1 ? fitting : perWarp <= 12;
  static constexpr int held = S::slots / (tilePieces * pieceSlots), some = wanted < held ? wanted : held;
  static constexpr int early = some < mostTiles ? some : mostTiles, group = perWarp < 8 ? perWarp : 8;
  static constexpr bool keepsInput = perWarp <= 12; ///< as fragments, else they are made for each use
  static_assert(P::part0 % 8 == 0 && P::part1 % 8 == 0 && P::part2 % 8 == 0 && span % 8 == 0,
                "a piece lies in one matrix");
  static_assert(tilePieces * pieceSlots <= S::slots && most <= 64, "a tile fits into the ring");

  static __device__ __forceinline__ int turn(int block) {
    return block < firstExtra ? block - firstExtra + S::blocks : block - firstExtra;
  }
  static __device__ __forceinline__ int firstUnit(int block) {
    return turn(block) * least + min(turn(block), extra);
  }
  static __device__ __forceinline__ int unitsOf(int block) { return least + (turn(block) < extra); }
};

/// Of a product's input, the vectors of 8 columns that a warp multiplies, of each half: lane l has every 16th
/// or 32nd from l on. P: LoopProduct.
template <class P> struct LoopInput {
  static constexpr int lanes = 32 / P::halves, vectors = P::perWarp * 4, perLane = divideUp(vectors, lanes);
  uint4 v[perLane];

  /// The column of vector i of a lane. Those behind the end stand for the last one.
  static __device__ __forceinline__ int column(int warp, int lane, int i) {
    const int vector = i * lanes + lane % lanes, half = lane / lanes;
    const int inHalf = min(warp * P::perWarp * 32 + vector * 8, P::span - 8);
    return half * P::span + inHalf;
  }

  /// Chunk c as the B fragment, of which column 0 (and 1, of the second half) counts.
  __device__ __forceinline__ uint4 fragment(int warp, int lane, int c) const {
    const int g = lane / 4, t = lane % 4;
    // Zeros behind the end, as weights are there, so that no product is a NaN.
    const bool inside = P::span % (256 * P::perWarp) == 0 || (warp * P::perWarp + c) * 32 + t * 8 < P::span;
    const uint4 own = v[c * 4 / lanes];
    const int from = c * 4 % lanes + t + (P::halves == 2 ? g % 2 * lanes : 0);
    const uint4 x = {__shfl_sync(0xffffffffu, own.x, from), __shfl_sync(0xffffffffu, own.y, from),
                     __shfl_sync(0xffffffffu, own.z, from), __shfl_sync(0xffffffffu, own.w, from)};
    return inside ? x : uint4{0, 0, 0, 0};
  }
};

} // namespace fusebox
