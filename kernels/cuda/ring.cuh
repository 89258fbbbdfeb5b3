// Stages of shared memory that copies from memory fill while others are read: barriers that count arrivals
// and bytes, and the copies that report to them. Bulk copies where the chip has them (sm_90 on), else 16
// bytes a lane.
#pragma once
#include "tiles.cuh"

namespace fusebox {

/// A barrier of shared memory; its phases are counted from 0, waits name the parity of the phase they await.
struct StageBarrier {
  u64 state;

  __device__ __forceinline__ void init(int arrivals) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(sharedAddress(this)), "r"(arrivals) : "memory");
  }
  __device__ __forceinline__ void arrive() {
    asm volatile("{ .reg .b64 t; mbarrier.arrive.shared.b64 t, [%0]; }" ::"r"(sharedAddress(this))
                 : "memory");
  }
  __device__ __forceinline__ bool passed(u32 parity) {
    u32 done;
#if __CUDA_ARCH__ >= 900
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                 : "=r"(done)
                 : "r"(sharedAddress(this)), "r"(parity)
                 : "memory");
#else
    asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                 : "=r"(done)
                 : "r"(sharedAddress(this)), "r"(parity)
                 : "memory");
#endif
    return done;
  }
  __device__ __forceinline__ void wait(u32 parity) {
    while (!passed(parity)) {
    }
  }
};

/// Makes initialised barriers visible to bulk copies; a block barrier must follow.
__device__ __forceinline__ void publishBarriers() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}

// Tools that check for races do not know what bulk copies wait for: without them they can follow the rest.
#if __CUDA_ARCH__ >= 900 && !defined(FUSEBOX_WITHOUT_BULK_COPIES)
constexpr bool hasBulkCopies = true;
#else
constexpr bool hasBulkCopies = false;
#endif

/// Arrivals that a warp's copies into a stage make at its barrier.
constexpr int copyArrivals = hasBulkCopies ? 1 : 32;

/// One lane announces a stage of `bytes`.
__device__ __forceinline__ void announceStage(StageBarrier &full, u32 bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "{ .reg .b64 t; mbarrier.arrive.expect_tx.shared.b64 t, [%0], %1; }" ::"r"(sharedAddress(&full)),
      "r"(bytes)
      : "memory");
#endif
}

/// The warp announces a stage of `bytes`, then copies its pieces, then reports.
__device__ __forceinline__ void beginStage(StageBarrier &full, u32 bytes) {
  if (threadIdx.x % 32 == 0)
    announceStage(full, bytes);
  __syncwarp();
}

/// One lane copies `bytes` (a multiple of 16, both places aligned to it).
__device__ __forceinline__ void copyBulk(u32 to, const void *from, u32 bytes, StageBarrier &full) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
      "l"(from), "r"(bytes), "r"(sharedAddress(&full))
      : "memory");
#endif
}

/// The same for what a step reads once: it is the first to leave the second-level cache.
__device__ __forceinline__ void copyBulkOnce(u32 to, const void *from, u32 bytes, StageBarrier &full) {
#if __CUDA_ARCH__ >= 900
  asm volatile("{ .reg .b64 policy; createpolicy.fractional.L2::evict_first.b64 policy, 1.0; "
               "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], "
               "%2, [%3], "
               "policy; }" ::"r"(to),
               "l"(from), "r"(bytes), "r"(sharedAddress(&full))
               : "memory");
#endif
}

/// Every lane: its copies of 16 bytes arrive at the barrier when they are done.
__device__ __forceinline__ void reportCopies(StageBarrier &full) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(sharedAddress(&full)) : "memory");
}

} // namespace fusebox
