// The ring of slots through which decode_loop's weights, keys and values pass, in the order in which a step
// needs them: one lane fills it, eight warps empty it.
#pragma once
#include "ring.cuh"

namespace fusebox {

/// S: slots, inFlight (slots that may be on their way), slotBytes, ringWarps (that release each slot).
/// Each warp has its own: where it stands.
template <class S> struct LoopRing {
  static constexpr u32 bytes = S::slots * S::slotBytes;

  struct Barriers {
    StageBarrier full[S::slots], empty[S::slots];

    /// By S::slots threads, before a barrier of the block.
    __device__ __forceinline__ void init(int slot) {
      full[slot].init(1);
      empty[slot].init(S::ringWarps);
      publishBarriers();
    }
  };

  Barriers &barriers;
  const u32 base; ///< in shared memory
  int slot = 0;
  u32 phase = 0;
  int requested = 0; ///< slots in all, of the lane that fills

  __device__ __forceinline__ void advance(int count) {
    slot += count;
    if (slot >= S::slots)
      slot -= S::slots, phase ^= 1;
  }
  __device__ __forceinline__ int slotAt(int ahead) const {
    return slot + ahead >= S::slots ? slot + ahead - S::slots : slot + ahead;
  }

  //===-- Filling ---===//

  /// Waits until the next slot is free and few others are on their way; announces what will be copied there.
  /// The caller copies to the address that it gives, to report at `full`, and advances.
  __device__ __forceinline__ u32 claim(u32 count) {
    if (requested >= S::slots)
      barriers.empty[slot].wait(phase ^ 1);
    if (requested >= S::inFlight) {
      const int before = slot >= S::inFlight ? slot - S::inFlight : slot - S::inFlight + S::slots;
      barriers.full[before].wait(slot >= S::inFlight ? phase : phase ^ 1);
    }
    ++requested;
    announceStage(full(), count);
    return address(0);
  }
  __device__ __forceinline__ StageBarrier &full() const { return barriers.full[slot]; }

  /// Copies `count` bytes of weights through as many slots as they need.
  __device__ __forceinline__ void copy(const u8 *from, int count) {
#pragma unroll 1
    for (int done = 0; done < count; done += S::slotBytes) {
      const u32 part = u32(min(count - done, S::slotBytes));
      const u32 to = claim(part);
      copyBulkOnce(to, from + done, part, full());
      advance(1);
    }
  }

  //===-- Emptying ---===//

  /// Waits for `count` slots, the first of them `ahead` of the next: for the last ones, as a slot is
  /// requested when those S::inFlight before it are full.
  __device__ __forceinline__ void await(int ahead, int count) const {
    for (int i = max(ahead, ahead + count - S::inFlight); i < ahead + count; ++i)
      barriers.full[slotAt(i)].wait(slot + i >= S::slots ? phase ^ 1 : phase);
  }

  /// Where `offset` bytes of the slot `ahead` of the next lie, in shared memory.
  __device__ __forceinline__ u32 address(int ahead, u32 offset = 0) const {
    return base + slotAt(ahead) * S::slotBytes + offset;
  }
  /// The same for an address that may lie in a slot behind it, which is at the ring's start after its end.
  __device__ __forceinline__ u32 wrapped(u32 address) const {
    return address >= base + bytes ? address - bytes : address;
  }

  /// This warp has done with the next `count` (at most 32) slots, which it has awaited: else it could release
  /// one for the second time before others have for the first.
  __device__ __forceinline__ void release(int count) {
    __syncwarp();
    const int ahead = threadIdx.x % 32;
    if (ahead < count)
      barriers.empty[slotAt(ahead)].arrive();
    advance(count);
  }

  /// Passes over the next `count` slots, which other warps use.
  __device__ __forceinline__ void skip(int count) {
    await(0, count);
    release(count);
  }
};

} // namespace fusebox
