// Values that blocks of one launch hand to each other without barriers: every word tells by itself whether it
// is there, so who needs it reads it again until it is.
//
// Activations cross as pairs of bf16 with all bits inverted, and 0 means not there: inverted it would be a
// NaN that no rounding gives. A place is written once in a step; the next step uses a second set of places,
// and clears this one for the step after it. Between the two lies the end of a launch, so clearing needs no
// order among blocks. Other values cross as 8 bytes, with the number of the exchange beside them.
#pragma once
#include "base.cuh"

namespace fusebox {

/// Reads after which a value is given up for lost: half a minute, as other work may keep a block from
/// starting for a while.
constexpr int mostPolls = 1 << 26;

__device__ __forceinline__ uint4 loadRelaxed(const void *p) {
  uint4 v;
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p)
               : "memory");
  return v;
}

/// A word that other blocks write.
__device__ __forceinline__ u32 loadWord(const u32 *p) {
  u32 v;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}
/// One such word, or two neighbouring ones.
__device__ __forceinline__ void loadWords(u32 (&v)[1], const u32 *p) { v[0] = loadWord(p); }
__device__ __forceinline__ void loadWords(u32 (&v)[2], const u32 *p) {
  asm volatile("ld.relaxed.gpu.global.v2.u32 {%0,%1}, [%2];" : "=r"(v[0]), "=r"(v[1]) : "l"(p) : "memory");
}
/// The same, before all that the thread reads after it.
__device__ __forceinline__ u32 loadAcquire(const u32 *p) {
  u32 v;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}

__device__ __forceinline__ void storeRelaxed(void *p, u32 v) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}

/// Reads the 16 bytes at from(i), for each i.
template <int Count, class From> __device__ __forceinline__ void readVectors(uint4 (&v)[Count], From from) {
#pragma unroll
  for (int i = 0; i < Count; ++i)
    v[i] = loadRelaxed(from(i));
}

/// Whether all words that the warp has read are there.
template <int Count> __device__ __forceinline__ bool areThere(const uint4 (&v)[Count]) {
  bool there = true;
#pragma unroll
  for (int i = 0; i < Count; ++i)
    there = there && v[i].x && v[i].y && v[i].z && v[i].w;
  return __all_sync(0xffffffffu, there);
}

/// The bf16 of words that are there.
template <int Count> __device__ __forceinline__ void invert(uint4 (&v)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; ++i)
    v[i] = uint4{~v[i].x, ~v[i].y, ~v[i].z, ~v[i].w};
}

/// Waits until the 16 bytes at from(i) are there, for each i of every lane of the warp.
template <int Count, class From> __device__ __forceinline__ void awaitVectors(uint4 (&v)[Count], From from) {
#pragma unroll 1
  for (int tries = 0; tries < mostPolls; ++tries) {
    readVectors(v, from);
    if (areThere(v))
      return;
  }
  __trap();
}

/// The same for words at `from`, which have been read once.
template <int Count> __device__ __forceinline__ void awaitWords(u32 (&v)[Count], const u32 *from) {
#pragma unroll 1
  for (int tries = 0; tries < mostPolls; ++tries) {
    if (__all_sync(0xffffffffu, v[0] && v[Count - 1]))
      return;
    loadWords(v, from);
  }
  __trap();
}

/// A pair of bf16 at `to`; the same place of the other set becomes empty.
__device__ __forceinline__ void publishPair(u32 *to, u32 *other, u32 pair) {
  storeRelaxed(to, ~pair);
  storeRelaxed(other, 0u);
}

/// A value of exchange `number`.
struct NumberedValue {
  float value;
  u32 number;
};

/// Two neighbouring values at an even place.
__device__ __forceinline__ void publishValues(NumberedValue *to, const float2 &v, u32 number) {
  const u64 first = u64(number) << 32 | __float_as_uint(v.x),
            second = u64(number) << 32 | __float_as_uint(v.y);
  asm volatile("st.relaxed.gpu.global.v2.u64 [%0], {%1,%2};" ::"l"(to), "l"(first), "l"(second) : "memory");
}

/// Waits until the values at from(i) are those of exchange `number`, for each i of every lane of the warp.
/// A lane that awaits none gives nullptr and gets 0.
template <int Count, class From>
__device__ __forceinline__ void awaitValues(float (&v)[Count], u32 number, From from) {
#pragma unroll 1
  for (int tries = 0; tries < mostPolls; ++tries) {
    u64 word[Count];
    bool there = true;
#pragma unroll
    for (int i = 0; i < Count; ++i) {
      word[i] = u64(number) << 32;
      if (const NumberedValue *p = from(i))
        asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(word[i]) : "l"(p) : "memory");
    }
#pragma unroll
    for (int i = 0; i < Count; ++i) {
      there = there && u32(word[i] >> 32) == number;
      v[i] = __uint_as_float(u32(word[i]));
    }
    if (__all_sync(0xffffffffu, there))
      return;
  }
  __trap();
}

} // namespace fusebox
