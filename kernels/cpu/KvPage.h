// Where keys and values lie in a KV page of 64 tokens; kv_write and attention agree by this file alone.
//
// bf16: key element (head, dim, slot) in pairs of dims, so that a register holds 16 keys' pairs:
//         K [head][dim/2][64 slots][2];  V in pairs of slots: V [head][slot/2][dim][2].
// f32:    K [head][dim][64 slots];       V [head][slot][dim].
// All heads' keys come first, then all heads' values.
#pragma once

#include "kernels/cpu/KernelAbi.h"
#include "kernels/cpu/numerics/Convert.h"

#include <type_traits>

namespace fusebox::cpu {

template <DType T> FB_INLINE int64_t keyIndex(int64_t headDim, int64_t head, int64_t dim, int64_t slot) {
  if constexpr (T == DType::BF16)
    return (head * headDim + (dim & ~int64_t(1))) * kvPageTokens + slot * 2 + (dim & 1);
  else
    return (head * headDim + dim) * kvPageTokens + slot;
}

template <DType T>
FB_INLINE int64_t valueIndex(int64_t kvHeads, int64_t headDim, int64_t head, int64_t dim, int64_t slot) {
  const int64_t values = (kvHeads + head) * headDim * kvPageTokens;
  if constexpr (T == DType::BF16)
    return values + (slot & ~int64_t(1)) * headDim + dim * 2 + (slot & 1);
  else
    return values + slot * headDim + dim;
}

/// Elements of a page.
FB_INLINE int64_t pageElements(int64_t kvHeads, int64_t headDim) {
  return 2 * kvPageTokens * kvHeads * headDim;
}

/// The page of a sequence's tokens [64·block, 64·block + 64).
template <DType T>
FB_INLINE char *pageOf(void *pool, const StepView *step, int64_t sequence, int64_t block, int64_t elements) {
  return at<T>(pool, step->blockTable[sequence * int64_t(step->maxPages) + block] * elements);
}

/// Puts the key and value of one head, k and v [headDim], into a slot of a page.
template <DType T>
FB_INLINE void writeSlot(char *page, int64_t kvHeads, int64_t headDim, int64_t head, int64_t slot,
                         const char *k, const char *v) {
  char *keys = page + keyIndex<T>(headDim, head, 0, slot) * bytesOf<T>;
  char *values = page + valueIndex<T>(kvHeads, headDim, head, 0, slot) * bytesOf<T>;
  constexpr int64_t step32 = kvPageTokens * 4; // from one 32-bit key word of a slot to its next
  _Pragma("clang loop unroll_count(4)") for (int64_t word = 0; word < headDim * bytesOf<T> / 4; ++word)
      store(keys + word * step32, load<uint32_t>(k + word * 4));
  using Bits = std::conditional_t<T == DType::BF16, uint16_t, uint32_t>;
  constexpr int64_t valueStride = T == DType::BF16 ? 2 : 1;
  _Pragma("clang loop unroll_count(4)") for (int64_t dim = 0; dim < headDim; ++dim)
      store(values + dim * valueStride * bytesOf<T>, load<Bits>(v + dim * bytesOf<T>));
}

} // namespace fusebox::cpu
