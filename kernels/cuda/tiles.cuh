// Shared-memory tiles for tensor-core kernels: asynchronous copies, swizzled rows, fragment loads.
#pragma once
#include "base.cuh"

namespace fusebox {

__device__ __forceinline__ u32 sharedAddress(const void *p) { return u32(__cvta_generic_to_shared(p)); }

__device__ __forceinline__ uint4 loadShared(u32 address) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(address)
               : "memory");
  return v;
}
__device__ __forceinline__ void storeShared(u32 address, const uint4 &v) {
  asm volatile("st.shared.v4.u32 [%0], {%1,%2,%3,%4};" ::"r"(address), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
               : "memory");
}
__device__ __forceinline__ u32 loadSharedWord(u32 address) {
  u32 v;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(address) : "memory");
  return v;
}

__device__ __forceinline__ float sharedFloat(u32 address) {
  float v;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(v) : "r"(address) : "memory");
  return v;
}
__device__ __forceinline__ float2 sharedFloats(u32 address) {
  float2 v;
  asm volatile("ld.shared.v2.f32 {%0,%1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(address) : "memory");
  return v;
}
__device__ __forceinline__ void storeShared(u32 address, float v) {
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(address), "f"(v) : "memory");
}
__device__ __forceinline__ void storeShared(u32 address, const float2 &v) {
  asm volatile("st.shared.v2.f32 [%0], {%1,%2};" ::"r"(address), "f"(v.x), "f"(v.y) : "memory");
}

/// Orders what this thread has written to shared memory, or copied there with copyAsync, before tensor cores
/// read it and before bulk copies overwrite it.
__device__ __forceinline__ void publishShared() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

/// Starts a copy of 16 bytes to shared memory, or zeroes them there if !inside.
__device__ __forceinline__ void copyAsync(u32 to, const void *from, bool inside) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(inside ? 16 : 0)
               : "memory");
}
/// Starts a copy of 4, 8 or 16 bytes to shared memory.
template <int Bytes> __device__ __forceinline__ void copyAsync(u32 to, const void *from) {
  if constexpr (Bytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(to), "l"(from), "n"(Bytes) : "memory");
}
__device__ __forceinline__ void commitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits until at most Pending committed groups are still under way.
template <int Pending> __device__ __forceinline__ void waitCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

/// Calls use(step) for each of `steps` steps, whose copies copy(step) started Stages - 1 steps before, into
/// stage step % Stages of a ring. A block-wide barrier stands before each use.
template <int Stages, class Copy, class Use>
__device__ __forceinline__ void throughRing(int steps, Copy copy, Use use) {
#pragma unroll
  for (int step = 0; step < Stages - 1; ++step) {
    if (step < steps)
      copy(step);
    commitCopies();
  }
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    waitCopies<Stages - 2>();
    __syncthreads();
    if (step + Stages - 1 < steps)
      copy(step + Stages - 1);
    commitCopies();
    use(step);
  }
}

/// A tile of rows of `Columns` 2-byte elements. The 16-byte chunks of a row are permuted by the row's number,
/// so that 8 rows' equal chunks lie in different banks.
template <int Columns> struct TileLayout {
  static constexpr int chunks = Columns / 8, rowBytes = Columns * 2;
  static constexpr int mask = chunks % 8 == 0 ? 7 : chunks % 4 == 0 ? 3 : chunks % 2 == 0 ? 1 : 0;
  static __device__ __forceinline__ u32 at(u32 base, int row, int chunk) {
    return base + u32(row * rowBytes + (chunk ^ (row & mask)) * 16);
  }
};

/// Four 8×8 matrices; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void loadMatrices(u32 (&r)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
__device__ __forceinline__ void loadMatricesTransposed(u32 (&r)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

/// Dynamic shared memory of the block.
__device__ __forceinline__ u32 dynamicShared() {
  extern __shared__ __align__(128) u8 dynamicSharedBytes[];
  return sharedAddress(dynamicSharedBytes);
}

} // namespace fusebox
