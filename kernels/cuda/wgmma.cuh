// Tensor-core products of a warpgroup on Hopper (sm_90a): 64 rows at a time, operands in swizzled shared
// memory or, for the rows, in registers. Elsewhere FUSEBOX_WGMMA is not defined and kernels take their other
// way.
#pragma once
#include "base.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define FUSEBOX_WGMMA 1
#endif

namespace fusebox {

/// Tiles of 128-byte rows (64 bf16), groups of 8 rows together, their 16-byte chunks permuted by the row's
/// number: the tensor cores' 128-byte swizzle. The tile lies at a multiple of 1024 bytes.
struct SwizzledTile {
  static __device__ __forceinline__ u32 at(u32 base, int row, int chunk) {
    return base + u32(row * 128 + (chunk ^ (row & 7)) * 16);
  }
};

#ifdef FUSEBOX_WGMMA

/// Descriptor of an operand at `address`: 8-row groups lie 1024 bytes apart; `wide` is the distance between
/// blocks of 64 columns, for an operand that is read transposed.
__device__ __forceinline__ u64 operandAt(u32 address, u32 wide = 16) {
  return u64((address & 0x3ffff) >> 4) | u64(wide >> 4) << 16 | u64(1024 >> 4) << 32 | u64(1) << 62;
}
/// The same operand `bytes` further on.
__device__ __forceinline__ u64 operandPlus(u64 operand, u32 bytes) { return operand + (bytes >> 4); }

__device__ __forceinline__ void beginProducts() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commitProducts() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Waits until at most Pending committed groups are under way; `sums` may be read then.
template <int Pending, int Count> __device__ __forceinline__ void waitProducts(float (&sums)[Count]) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
#pragma unroll
  for (int i = 0; i < Count; ++i)
    asm volatile("" : "+f"(sums[i])::"memory");
}

#define FUSEBOX_SUMS8(i)                                                                                     \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]),                \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define FUSEBOX_SUMS32(i) FUSEBOX_SUMS8(i), FUSEBOX_SUMS8(i + 8), FUSEBOX_SUMS8(i + 16), FUSEBOX_SUMS8(i + 24)
#define FUSEBOX_REGISTERS32                                                                                  \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%"  \
  "28,%29,%30,%31"
#define FUSEBOX_REGISTERS64                                                                                  \
  FUSEBOX_REGISTERS32 ","                                                                                    \
                      "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52," \
                      "%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define FUSEBOX_REGISTERS96                                                                                  \
  FUSEBOX_REGISTERS64 ","                                                                                    \
                      "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84," \
                      "%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
#define FUSEBOX_REGISTERS128                                                                                 \
  FUSEBOX_REGISTERS96 ","                                                                                    \
                      "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,%112,%"   \
                      "113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"

/// d += A B for 64 rows, N columns and 16 deep, A and B (rows of B^T) in shared memory. Lane l of warp w has,
/// of each 8 columns, the columns 2 (l % 4) and the next, of rows 16 w + l / 4 (first two) and 8 further
/// (last two).
template <int N> __device__ __forceinline__ void multiplyTiles(float (&d)[N / 2], u64 a, u64 b) {
  static_assert(N == 64 || N == 128 || N == 256);
  if constexpr (N == 64)
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" FUSEBOX_REGISTERS32
                 "}, %32, %33, 1, 1, 1, 0, 0;"
                 : FUSEBOX_SUMS32(0)
                 : "l"(a), "l"(b));
  if constexpr (N == 128)
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" FUSEBOX_REGISTERS64
                 "}, %64, %65, 1, 1, 1, 0, 0;"
                 : FUSEBOX_SUMS32(0), FUSEBOX_SUMS32(32)
                 : "l"(a), "l"(b));
  if constexpr (N == 256)
    asm volatile("wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {" FUSEBOX_REGISTERS128
                 "}, %128, %129, 1, 1, 1, 0, 0;"
                 : FUSEBOX_SUMS32(0), FUSEBOX_SUMS32(32), FUSEBOX_SUMS32(64), FUSEBOX_SUMS32(96)
                 : "l"(a), "l"(b));
}

/// The same with A in registers, as fragments of mma(), and B in shared memory by rows (transposed on the
/// way).
template <int N> __device__ __forceinline__ void multiplyRows(float (&d)[N / 2], const u32 (&a)[4], u64 b) {
  static_assert(N == 64 || N == 128);
  if constexpr (N == 64)
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" FUSEBOX_REGISTERS32
                 "}, {%32,%33,%34,%35}, %36, 1, 1, 1, 1;"
                 : FUSEBOX_SUMS32(0)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
  if constexpr (N == 128)
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" FUSEBOX_REGISTERS64
                 "}, {%64,%65,%66,%67}, %68, 1, 1, 1, 1;"
                 : FUSEBOX_SUMS32(0), FUSEBOX_SUMS32(32)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

#endif // FUSEBOX_WGMMA

} // namespace fusebox
