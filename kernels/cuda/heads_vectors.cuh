// The work of heads.cuh for heads of 64, 128 or 256 columns that are rotated whole: in registers from the
// load to the store, 8 columns a lane, so that a warp takes several heads at once, or fewer where one head is
// to be ready soon. The bits are those of heads.cuh.
#pragma once
#include "base.cuh"
#include "kv_cache.cuh"
#include "norm.cuh"
#include "rope.cuh"

namespace fusebox {

/// S, args: as PrepareHeads; Columns of a lane. Grid: (tokens, ceil((heads + kvHeads) / headsPerBlock))
/// blocks of 128 threads.
template <class S, int Columns = 8> struct PrepareHeadVectors {
  static constexpr bool fits =
      (S::headDim == 64 || S::headDim == 128 || S::headDim == 256) && S::rotaryDim == S::headDim;
  static constexpr int lanes = S::headDim / Columns, half = S::headDim / 2; ///< lanes of a head
  static constexpr int headsPerBlock = 128 / lanes;

  /// Norm of this lane's columns: the sum's order is norm.cuh's, where further lanes of a warp hold zeros.
  /// One of its lanes, of 8 columns, is `parts` of these: each goes on from the sum of the one before it, and
  /// the last has the whole.
  static __device__ __forceinline__ void norm(float (&v)[Columns], const float (&gain)[Columns]) {
    constexpr int parts = 8 / Columns;
    float sum = 0.f;
#pragma unroll
    for (int part = 0; part < parts; ++part) {
      if (part > 0)
        sum = __shfl_up_sync(0xffffffffu, sum, 1);
#pragma unroll
      for (int e = 0; e < Columns; ++e)
        sum = __fmaf_rn(v[e], v[e], sum);
    }
#pragma unroll
    for (int o = parts; o < lanes; o *= 2)
      sum += __shfl_xor_sync(0xffffffffu, sum, o);
    if constexpr (parts > 1)
      sum = __shfl_sync(0xffffffffu, sum, threadIdx.x % 32 | (parts - 1));
    const float factor = rmsFactor(sum, S::headDim, S::eps);
#pragma unroll
    for (int e = 0; e < Columns; ++e)
      v[e] = roundTo<S::type>(normed<S>(v[e], factor, gain[e]));
  }

  /// Rotates this lane's columns; in the half-split layout their partners are half the head's lanes away.
  static __device__ __forceinline__ void rotateColumns(float (&v)[Columns], const float (&cosine)[Columns],
                                                       const float (&sine)[Columns], int lane) {
    if constexpr (S::interleaved) {
#pragma unroll
      for (int e = 0; e < Columns; e += 2)
        rotate<S>(v[e], v[e + 1], cosine[e / 2], sine[e / 2]);
    } else {
      const bool first = lane < lanes / 2;
#pragma unroll
      for (int e = 0; e < Columns; ++e) {
        const float other = __shfl_xor_sync(0xffffffffu, v[e], lanes / 2);
        float x = first ? v[e] : other, y = first ? other : v[e];
        rotate<S>(x, y, cosine[e], sine[e]);
        v[e] = first ? x : y;
      }
    }
  }

  static __device__ __forceinline__ void run(const Args &args, const StepView &step) {
    static_assert(Columns == 8, "loads of 16 bytes");
    const int row = blockIdx.x, index = blockIdx.y * headsPerBlock + threadIdx.x / lanes,
              lane = threadIdx.x % lanes, column = lane * 8;
    const bool isQuery = index < S::heads, isKey = !isQuery && index < S::heads + S::kvHeads;
    const int kvHead = isKey ? index - S::heads : 0;
    const u64 query = (u64(row) * S::heads + (isQuery ? index : 0)) * S::headDim + column,
              key = (u64(row) * S::kvHeads + kvHead) * S::headDim + column;
    // What can be read is read first: a load behind a store would wait for it.
    float v[8], gain[8], value[8], cosine[8], sine[8];
    const u64 from = isQuery ? query : key;
    load8<S::type>(v, isQuery ? args.p[2] : args.p[3], from, from + 8);
    if constexpr (S::norm)
      load8<S::gainType>(gain, isQuery ? args.p[6] : args.p[7], u64(column), u64(column) + 8);
    if (isKey)
      load8<S::type>(value, args.p[4], key, key + 8);
    const u64 angle = u64(row) * 2 * half + (S::interleaved ? lane * 4 : lane % (lanes / 2) * 8);
    loadAngles(cosine, args.p[5], angle);
    loadAngles(sine, args.p[5], angle + half);
    const int position = __ldcg(step.position + row);
    if constexpr (S::norm)
      norm(v, gain);
    rotateColumns(v, cosine, sine, lane);
    if (isQuery)
      store8<S::type>(args.p[0], query, query + 8, v);
    if (!isKey || position < 0)
      return;
    const int slot = position % kvPageTokens;
    const u64 to =
        KvLayout<S>::key(pageOf(step, row, position), kvHead, slot) + KvLayout<S>::column(slot, column);
    store8<S::type>(args.p[1], to, to + 8, v);
    store8<S::type>(args.p[1], to + KvLayout<S>::valueOffset, to + KvLayout<S>::valueOffset + 8, value);
  }

  /// Angles of this lane's pairs: 8, or 4 where pairs are neighbours.
  static __device__ __forceinline__ void loadAngles(float (&angles)[8], const void *table, u64 at) {
    if constexpr (S::interleaved) {
#pragma unroll
      for (int e = 0; e < 4; ++e)
        angles[e] = load<S::anglesType>(table, at + e);
    } else {
      load8<S::anglesType>(angles, table, at, at + 8);
    }
  }
};

} // namespace fusebox
