// Common ground of the CUDA kernels: element types, conversions with the rounding of the contracts, loads,
// tensor-core products, reductions in a fixed order. Included by every kernel header; compiled by NVRTC, so
// it includes nothing itself.
#pragma once

namespace fusebox {

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;

/// One ragged step, as in kernels/cpu/KernelAbi.h, with device pointers. A row whose position is negative is
/// padding of a captured graph: kernels compute nothing for it, or something that nobody reads.
struct StepView {
  int tokens, sequences, logitsRows, maxPages;
  const int *token, *position, *sequenceStart, *tokenSequence, *blockTable, *logitsRow;
};

/// The arguments of a launch in plan order: device addresses.
constexpr int maxArgs = 12;
struct Args {
  void *p[maxArgs];
};

/// A launch that does the work of several has its own arguments first, then what it needs of the others': a
/// merged kernel finds them by a table of places.
template <class S> __device__ __forceinline__ Args arranged(const Args &args) {
  Args out = args;
  if constexpr (S::arranged) {
    const int places[maxArgs] = {S::place0, S::place1, S::place2, S::place3, S::place4,  S::place5,
                                 S::place6, S::place7, S::place8, S::place9, S::place10, S::place11};
#pragma unroll
    for (int i = 0; i < maxArgs; ++i)
      out.p[i] = args.p[places[i]];
  }
  return out;
}

constexpr int kvPageTokens = 64;
constexpr int dtF32 = 1, dtF16 = 2, dtBF16 = 3; ///< fusebox::DType

/// Programmatic dependent launch: everything before this line may run while the previous kernel still does,
/// and may read weights only. Every kernel calls it before it reads or writes an activation.
__device__ __forceinline__ void waitForInputs() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// Orders what this thread has written before what it writes after it, for all blocks; likewise what it
/// reads. As __threadfence(), which is stronger and takes longer.
__device__ __forceinline__ void fenceGpu() { asm volatile("fence.acq_rel.gpu;" ::: "memory"); }

/// Lets the next kernel's blocks come in as soon as there is room for them.
__device__ __forceinline__ void letNextStart() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// Registers a thread of this group of four warps has from now on; all its warps say so. A group claims what
/// others have given back. On sm_90a.
template <int Count> __device__ __forceinline__ void limitRegisters() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Count));
#endif
}
template <int Count> __device__ __forceinline__ void claimRegisters() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Count));
#endif
}

__device__ __forceinline__ float negativeInfinity() { return __int_as_float(int(0xff800000u)); }
__device__ __forceinline__ float bf16Low(u32 pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float bf16High(u32 pair) { return __uint_as_float(pair & 0xffff0000u); }
__device__ __forceinline__ u32 packBf16(float low, float high) {
  u32 pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
/// The products of two pairs, each rounded once.
__device__ __forceinline__ u32 multiplyBf16(u32 a, u32 b) {
  u32 pair;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(pair) : "r"(a), "r"(b), "r"(0x80008000u)); // a b - 0
  return pair;
}
__device__ __forceinline__ float roundBf16(float v) { return bf16Low(packBf16(v, 0.f)); }
__device__ __forceinline__ float f16ToF32(u16 v) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(v));
  return f;
}
__device__ __forceinline__ u16 f32ToF16(float v) {
  u16 h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(v));
  return h;
}

/// Rounds to the type T once, to nearest even.
template <int T> __device__ __forceinline__ float roundTo(float v) {
  if constexpr (T == dtBF16)
    return roundBf16(v);
  else if constexpr (T == dtF16)
    return f16ToF32(f32ToF16(v));
  else
    return v;
}

/// Element i of an activation. Read past the first-level cache: a kernel may have started before its input
/// was complete.
template <int T> __device__ __forceinline__ float load(const void *base, u64 i) {
  if constexpr (T == dtF32)
    return __ldcg(static_cast<const float *>(base) + i);
  else {
    u16 bits = __ldcg(static_cast<const u16 *>(base) + i);
    return T == dtBF16 ? bf16Low(bits) : f16ToF32(bits);
  }
}

template <int T> __device__ __forceinline__ void store(void *base, u64 i, float v) {
  if constexpr (T == dtF32)
    static_cast<float *>(base)[i] = v;
  else if constexpr (T == dtBF16)
    static_cast<u16 *>(base)[i] = u16(packBf16(v, 0.f));
  else
    static_cast<u16 *>(base)[i] = f32ToF16(v);
}

/// A generated pointwise body (codegen/cuda/EmitPointwise.h) is a struct Body: `Inputs`, the element types of
/// what it reads; `result`, that of what it gives; `static float apply(const float *in)`. Kernels that
/// compute some of the inputs themselves have these first.
template <int... T> struct Types {
  static constexpr int count = sizeof...(T);
};

/// Fills in[First...] with element i of args.p[place...]: what a body reads beside what the kernel computes.
template <int First, int... T>
__device__ __forceinline__ void loadInputs(Types<T...>, float *in, const Args &args, int place, u64 i) {
  int k = 0;
  ((k >= First ? void(in[k] = load<T>(args.p[place + k - First], i)) : void(), ++k), ...);
}

/// 16 bytes of an activation, past the first-level cache.
__device__ __forceinline__ uint4 loadVector(const void *p) { return __ldcg(static_cast<const uint4 *>(p)); }

/// Elements [i, i + 8) of an activation, of which those from `end` on don't exist.
template <int T> __device__ __forceinline__ void load8(float (&v)[8], const void *base, u64 i, u64 end) {
  if (T != dtF32 && i + 8 <= end) {
    const uint4 bits = loadVector(static_cast<const u16 *>(base) + i);
    const u32 pairs[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      v[2 * e] = T == dtBF16 ? bf16Low(pairs[e]) : f16ToF32(u16(pairs[e]));
      v[2 * e + 1] = T == dtBF16 ? bf16High(pairs[e]) : f16ToF32(u16(pairs[e] >> 16));
    }
  } else {
#pragma unroll
    for (int e = 0; e < 8; ++e)
      v[e] = i + e < end ? load<T>(base, i + e) : 0.f;
  }
}

template <int T> __device__ __forceinline__ void store8(void *base, u64 i, u64 end, const float (&v)[8]) {
  if (T == dtBF16 && i + 8 <= end) {
    *reinterpret_cast<uint4 *>(static_cast<u16 *>(base) + i) =
        uint4{packBf16(v[0], v[1]), packBf16(v[2], v[3]), packBf16(v[4], v[5]), packBf16(v[6], v[7])};
  } else {
#pragma unroll
    for (int e = 0; e < 8; ++e)
      if (i + e < end)
        store<T>(base, i + e, v[e]);
  }
}

/// 16 bytes of a weight that is read once.
__device__ __forceinline__ uint4 streamVector(const void *p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return v;
}

/// d += A B for a 16×16 tile A (rows) and a 16×8 tile B (columns), bf16, summed in f32.
__device__ __forceinline__ void mma(float (&d)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
               "{%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

__device__ __forceinline__ float warpSum(float v) {
#pragma unroll
  for (int o = 1; o < 32; o *= 2)
    v += __shfl_xor_sync(0xffffffffu, v, o);
  return v;
}

__device__ __forceinline__ float largerOf(float a, float b) { return fmaxf(a, b); }
__device__ __forceinline__ u64 largerOf(u64 a, u64 b) { return max(a, b); }
template <class T> __device__ __forceinline__ T warpMax(T v) {
#pragma unroll
  for (int o = 16; o; o /= 2)
    v = largerOf(v, __shfl_xor_sync(0xffffffffu, v, o));
  return v;
}

/// Over four neighbouring lanes: those that hold a row of a tensor core's fragment.
template <class T> __device__ __forceinline__ T quadSum(T v) {
  v += __shfl_xor_sync(0xffffffffu, v, 1);
  v += __shfl_xor_sync(0xffffffffu, v, 2);
  return v;
}
__device__ __forceinline__ float quadMax(float v) {
  v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 1));
  return fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 2));
}

__device__ constexpr int divideUp(int a, int b) { return (a + b - 1) / b; }

} // namespace fusebox
