// The paged KV cache on the device: a page holds 64 tokens of one layer, keys [kvHeads][64][headDim], then
// values likewise; 8 neighbouring columns lie together, but rows have them in different orders, so that a
// page's rows can be copied to shared memory as they lie and read there without bank conflicts. And the
// kernel that writes a step's keys and values.
#pragma once
#include "base.cuh"

namespace fusebox {

template <class S> struct KvLayout {
  static constexpr u64 headElements = u64(kvPageTokens) * S::headDim;
  static constexpr u64 pageElements = 2 * S::kvHeads * headElements;

  /// Element index of key `position % 64` of a head; its value lies valueOffset elements behind.
  static __device__ __forceinline__ u64 key(int page, int head, int slot) {
    return page * pageElements + head * headElements + u64(slot) * S::headDim;
  }
  static constexpr u64 valueOffset = S::kvHeads * headElements;

  /// Where column `column` lies in row `slot` of a page.
  static __device__ __forceinline__ int column(int slot, int column) {
    return S::headDim % 64 == 0 ? column ^ slot % 8 * 8 : column;
  }
};

/// The page of a token's position.
__device__ __forceinline__ int pageOf(const StepView &step, int row, int position) {
  return __ldcg(step.blockTable + u64(__ldcg(step.tokenSequence + row)) * step.maxPages +
                position / kvPageTokens);
}

/// S: kvHeads, headDim, type. args: kv pool of the layer, k [tokens, kvHeads * headDim], v.
/// Grid: a block of 128 threads a token.
template <class S> __device__ void kv_write(const Args &args, const StepView &step) {
  letNextStart();
  waitForInputs();
  const int row = blockIdx.x, position = __ldcg(step.position + row);
  if (position < 0)
    return;
  const int page = pageOf(step, row, position);
  constexpr int columns = S::kvHeads * S::headDim;
  for (int i = threadIdx.x; i < columns; i += blockDim.x) {
    const int slot = position % kvPageTokens;
    const u64 to = KvLayout<S>::key(page, i / S::headDim, slot) + KvLayout<S>::column(slot, i % S::headDim);
    store<S::type>(args.p[0], to, load<S::type>(args.p[1], u64(row) * columns + i));
    store<S::type>(args.p[0], to + KvLayout<S>::valueOffset,
                   load<S::type>(args.p[2], u64(row) * columns + i));
  }
}

} // namespace fusebox
