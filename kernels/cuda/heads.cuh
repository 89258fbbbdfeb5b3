// Merged kernel between the q, k, v products and attention: per-head norm of q and k (if the model has it),
// rotation of both, and the write of k and v to the paged cache. Every rounding point is where norm, rope and
// kv_write have it.
#pragma once
#include "base.cuh"
#include "heads_vectors.cuh"
#include "kv_cache.cuh"
#include "norm.cuh"
#include "rope.cuh"

namespace fusebox {

/// S: heads, kvHeads, headDim, norm, type, roundNormalised, onePlus, eps, gainType, columns = headDim, groups
/// = 1, rotaryDim, interleaved, anglesType, roundProducts. args: out q [tokens, heads * headDim], kv pool of
/// the layer, q, k, v, angles, and with norm: q gain, k gain. Grid: (tokens, ceil((heads + kvHeads) / 4))
/// blocks of 4 warps, one warp a head; a k head's warp also copies v.
template <class S> struct PrepareHeads {
  using Order = NormOrder<S::headDim>;
  static constexpr int perLane = Order::chunksPerGroup * 8;

  /// Norms a head of `columns` in the order of norm.cuh into `head` (shared memory of the warp).
  static __device__ __forceinline__ void normHead(const void *in, u64 base, const void *gains, float *head) {
    const int lane = threadIdx.x % 32;
    float v[perLane], sum = 0.f;
#pragma unroll
    for (int i = 0; i < perLane; ++i) {
      const int k = (lane / 4 * Order::chunksPerGroup + i / 8) * 32 + lane % 4 * 8 + i % 8;
      v[i] = k < S::headDim ? load<S::type>(in, base + k) : 0.f;
      sum = __fmaf_rn(v[i], v[i], sum);
    }
    const float factor = S::norm ? rmsFactor(warpSum(sum), S::headDim, S::eps) : 1.f;
#pragma unroll
    for (int i = 0; i < perLane; ++i) {
      const int k = (lane / 4 * Order::chunksPerGroup + i / 8) * 32 + lane % 4 * 8 + i % 8;
      if (k >= S::headDim)
        continue;
      if constexpr (S::norm)
        head[k] = roundTo<S::type>(normed<S>(v[i], factor, load<S::gainType>(gains, k)));
      else
        head[k] = v[i];
    }
    __syncwarp();
  }

  /// Rotates the head.
  static __device__ __forceinline__ void rotateHead(float *head, const void *angles, int row) {
    constexpr int half = S::rotaryDim / 2;
    const int lane = threadIdx.x % 32;
    const u64 table = u64(row) * 2 * half;
    for (int j = lane; j < half; j += 32)
      rotate<S>(head[pairFirst<S>(j)], head[pairSecond<S>(j)], load<S::anglesType>(angles, table + j),
                load<S::anglesType>(angles, table + half + j));
    __syncwarp();
  }

  static __device__ void run(const Args &args, const StepView &step) {
    __shared__ float heads[4][S::headDim];
    const int row = blockIdx.x, index = blockIdx.y * 4 + threadIdx.x / 32,
              position = __ldcg(step.position + row);
    float *head = heads[threadIdx.x / 32];
    if (index < S::heads) {
      const u64 at = (u64(row) * S::heads + index) * S::headDim;
      normHead(args.p[2], at, args.p[6], head);
      rotateHead(head, args.p[5], row);
      for (int k = threadIdx.x % 32 * 2; k < S::headDim; k += 64)
        *reinterpret_cast<u32 *>(static_cast<u16 *>(args.p[0]) + at + k) = packBf16(head[k], head[k + 1]);
    } else if (index < S::heads + S::kvHeads && position >= 0) {
      const int kvHead = index - S::heads;
      const u64 from = (u64(row) * S::kvHeads + kvHead) * S::headDim;
      const int slot = position % kvPageTokens;
      u16 *to = static_cast<u16 *>(args.p[1]) + KvLayout<S>::key(pageOf(step, row, position), kvHead, slot);
      normHead(args.p[3], from, args.p[7], head);
      rotateHead(head, args.p[5], row);
      for (int k = threadIdx.x % 32 * 2; k < S::headDim; k += 64) {
        u16 *pair = to + KvLayout<S>::column(slot, k);
        *reinterpret_cast<u32 *>(pair) = packBf16(head[k], head[k + 1]);
        *reinterpret_cast<u32 *>(pair + KvLayout<S>::valueOffset) =
            __ldcg(reinterpret_cast<const u32 *>(static_cast<const u16 *>(args.p[4]) + from + k));
      }
    }
  }
};

template <class S> __device__ void prepare_heads(const Args &args, const StepView &step) {
  static_assert(S::type == dtBF16 && S::headDim % 2 == 0, "the merged kernel is for bf16");
  letNextStart();
  waitForInputs();
  if constexpr (PrepareHeadVectors<S>::fits)
    PrepareHeadVectors<S>::run(arranged<S>(args), step);
  else
    PrepareHeads<S>::run(arranged<S>(args), step);
}

} // namespace fusebox
