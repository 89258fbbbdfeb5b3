// How decode_loop deals the rows of its matrices to blocks, and cuts them into tiles.
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

} // namespace fusebox
