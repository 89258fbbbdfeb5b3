// The largest values of each row of logits, in two kernels: the maxima of groups of 32 logits, then the
// groups that can hold one of the largest. Larger logits come first, of equal ones the lower id; a NaN never
// comes.
#pragma once
#include "base.cuh"

namespace fusebox {

/// A logit and its id as one ordered number, never 0; a NaN is 0. Both zeros are equal.
__device__ __forceinline__ u64 rankOf(float logit, u32 id) {
  if (logit != logit)
    return 0;
  const u32 bits = __float_as_uint(logit + 0.f);
  const u32 order = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return u64(order) << 32 | (0xffffffffu - id);
}
__device__ __forceinline__ float rankedLogit(u64 rank) {
  const u32 order = u32(rank >> 32);
  return __uint_as_float(order & 0x80000000u ? order ^ 0x80000000u : ~order);
}
__device__ __forceinline__ u32 rankedId(u64 rank) { return 0xffffffffu - u32(rank); }

/// Of a row: a block takes a slice of 4096 logits, two of its threads a group. The first kernel leaves for
/// each row the groups' largest ranks, then for each slice its largest logit and the sum of exp(logit -
/// that), f32.
template <int Vocabulary> struct Ranking {
  static constexpr int groupsOfSlice = 128, logitsOfSlice = 4096;
  static constexpr int slices = divideUp(Vocabulary, logitsOfSlice), groups = slices * groupsOfSlice;
  static constexpr u64 rowBytes = (u64(groups) * 8 + slices * 8 + 63) / 64 * 64;

  static __device__ u64 *ranks(void *rows, int row) {
    return reinterpret_cast<u64 *>(static_cast<u8 *>(rows) + row * rowBytes);
  }
  static __device__ float2 *sums(void *rows, int row) {
    return reinterpret_cast<float2 *>(ranks(rows, row) + groups);
  }
  /// Element `i` of 32 of a group: those of its two threads, which lie in pairs 256 apart.
  static __device__ u32 element(u32 group, u32 i) {
    return group / groupsOfSlice * logitsOfSlice + i / 2 * 256 + group % groupsOfSlice * 2 + i % 2;
  }
};

/// S: vocabulary. args: out ranking [rows], logits [rows, vocabulary] f32. Grid: (slices, rows) blocks of 256
/// threads.
template <class S> __device__ void largest_groups(const Args &args, const StepView &step) {
  using R = Ranking<S::vocabulary>;
  __shared__ float tops[8], sums[8];
  letNextStart();
  waitForInputs();
  const int row = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const u32 first = blockIdx.x * R::logitsOfSlice + threadIdx.x;
  float v[16], top = negativeInfinity();
#pragma unroll
  for (int j = 0; j < 16; ++j) {
    const u32 id = first + j * 256;
    v[j] = id < S::vocabulary ? load<dtF32>(args.p[1], u64(row) * S::vocabulary + id)
                              : __int_as_float(0x7fffffff);
  }
  u64 rank = 0;
#pragma unroll
  for (int j = 0; j < 16; ++j) {
    rank = max(rank, rankOf(v[j], first + j * 256));
    top = fmaxf(top, v[j]); // the other one of a NaN
  }
  rank = max(rank, __shfl_xor_sync(0xffffffffu, rank, 1));
  if (threadIdx.x % 2 == 0)
    R::ranks(args.p[0], row)[blockIdx.x * R::groupsOfSlice + threadIdx.x / 2] = rank;

#pragma unroll
  for (int o = 16; o; o /= 2)
    top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, o));
  if (lane == 0)
    tops[warp] = top;
  __syncthreads();
  for (int w = 0; w < 8; ++w)
    top = fmaxf(top, tops[w]);
  float sum = 0;
#pragma unroll
  for (int j = 0; j < 16; ++j)
    sum += v[j] > negativeInfinity() ? expf(v[j] - top) : 0.f;
  sum = warpSum(sum);
  if (lane == 0)
    sums[warp] = sum;
  __syncthreads();
  if (threadIdx.x)
    return;
  for (int w = 1; w < 8; ++w)
    sum += sums[w];
  R::sums(args.p[0], row)[blockIdx.x] = make_float2(top, sum);
}

/// The rank that exactly `count` of the block's ranks reach, digit by digit from the top; 1 if there are
/// fewer. Every rank but 0 is there once. `bins`: 259 words.
template <int N> __device__ u64 rankReachedBy(const u64 (&ranks)[N], u32 count, u32 *bins) {
  u64 prefix = 0;
  for (int shift = 56; shift >= 0; shift -= 8) {
    if (threadIdx.x < 256)
      bins[threadIdx.x] = 0;
    __syncthreads();
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const bool counts = ranks[n] && (shift == 56 || ranks[n] >> (shift + 8) == prefix >> (shift + 8));
      const u32 digit = u32(ranks[n] >> shift) & 255, active = __ballot_sync(0xffffffffu, counts);
      if (counts) { // logits have few different leading digits: lanes of one digit add as one
        const u32 same = __match_any_sync(active, digit);
        if (__ffs(same) - 1 == int(threadIdx.x % 32))
          atomicAdd(bins + digit, __popc(same));
      }
    }
    __syncthreads();
    if (threadIdx.x < 32) { // a lane has 8 digits, the first lane the largest
      u32 mine[8], sum = 0;
#pragma unroll
      for (int k = 0; k < 8; ++k)
        sum += mine[k] = bins[255 - 8 * threadIdx.x - k];
      u32 before = sum;
#pragma unroll
      for (int o = 1; o < 32; o *= 2) {
        const u32 other = __shfl_up_sync(0xffffffffu, before, o);
        before += threadIdx.x >= o ? other : 0;
      }
      if (threadIdx.x == 31 && before < count)
        bins[256] = 256;
      before -= sum;
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        if (before < count && before + mine[k] >= count)
          bins[256] = 255 - 8 * threadIdx.x - k, bins[257] = count - before, bins[258] = mine[k];
        before += mine[k];
      }
    }
    __syncthreads();
    if (bins[256] == 256)
      return 1;
    prefix |= u64(bins[256]) << shift;
    count = bins[257];
    if (count == bins[258])
      break; // all ranks of this digit belong: what follows it need not be told apart
  }
  return max(prefix, u64(1));
}

/// S: vocabulary, count (1 to 256). args: out rows of { sum of exp(logit - largest logit) f32, number of
/// pairs u32, pairs of logit f32 and id u32 }, padded to 64 bytes; ranking [rows], logits. Grid: rows, 1024
/// threads; dynamic shared memory: 32 ranks for each of the largest, if more than one is asked for.
template <class S> __device__ void largest(const Args &args, const StepView &step) {
  using R = Ranking<S::vocabulary>;
  constexpr int count = S::count, perThread = divideUp(R::groups, 1024);
  constexpr u32 rowWords = (2 + 2 * count + 15) / 16 * 16;
  __shared__ u32 bins[259], found[3], groups[count];
  __shared__ u64 best[count > 32 ? count : 32];
  const u32 thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  if (thread < 3)
    found[thread] = 0;
  letNextStart();
  waitForInputs();
  const int row = blockIdx.x;
  u64 ranks[perThread];
#pragma unroll
  for (int n = 0; n < perThread; ++n) {
    const int group = n * 1024 + thread;
    ranks[n] = group < R::groups ? __ldcg(R::ranks(args.p[1], row) + group) : 0;
  }
  u32 *out = static_cast<u32 *>(args.p[0]) + row * rowWords;
  if (warp == 31) { // the slices' sums as one, in a fixed order
    float top = negativeInfinity(), sum = 0;
    for (int s = lane; s < R::slices; s += 32)
      top = fmaxf(top, __ldcg(R::sums(args.p[1], row) + s).x);
#pragma unroll
    for (int o = 16; o; o /= 2)
      top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, o));
    for (int s = lane; s < R::slices; s += 32) {
      const float2 part = __ldcg(R::sums(args.p[1], row) + s);
      sum += part.x > negativeInfinity() ? part.y * expf(part.x - top) : 0.f;
    }
    sum = warpSum(sum);
    if (lane == 0)
      out[0] = __float_as_uint(sum);
  }

  if constexpr (count == 1) {
    u64 top = 0;
#pragma unroll
    for (int n = 0; n < perThread; ++n)
      top = max(top, ranks[n]);
    top = warpMax(top);
    if (lane == 0)
      best[warp] = top;
    __syncthreads();
    if (warp)
      return;
    top = best[lane];
    top = warpMax(top);
    if (lane == 0)
      out[1] = top != 0, out[2] = __float_as_uint(rankedLogit(top)), out[3] = rankedId(top);
  } else {
    // A group whose largest is not among the largest `count` of all groups has no part in the result.
    u64 limit = rankReachedBy(ranks, count, bins);
#pragma unroll
    for (int n = 0; n < perThread; ++n)
      if (ranks[n] >= limit)
        groups[atomicAdd(found, 1u)] = n * 1024 + thread;
    __syncthreads();
    extern __shared__ u64 candidates[];
    const float *logits = static_cast<const float *>(args.p[2]) + u64(row) * S::vocabulary;
    float values[divideUp(count, 32)];
#pragma unroll
    for (int r = 0; r < divideUp(count, 32); ++r) {
      const u32 g = r * 32 + warp, id = g < found[0] ? R::element(groups[g], lane) : S::vocabulary;
      values[r] = id < S::vocabulary ? __ldcg(logits + id) : __int_as_float(0x7fffffff);
    }
#pragma unroll
    for (int r = 0; r < divideUp(count, 32); ++r) {
      const u32 g = r * 32 + warp;
      const u64 rank = g < found[0] ? rankOf(values[r], R::element(groups[g], lane)) : 0;
      const u32 takers = __ballot_sync(0xffffffffu, rank >= limit);
      u32 place = lane == 0 && takers ? atomicAdd(found + 1, __popc(takers)) : 0;
      place = __shfl_sync(0xffffffffu, place, 0) + __popc(takers & ((1u << lane) - 1));
      if (rank >= limit)
        candidates[place] = rank;
    }
    __syncthreads();
    u64 mine[divideUp(count * 32, 1024)];
#pragma unroll
    for (int n = 0; n < divideUp(count * 32, 1024); ++n)
      mine[n] = n * 1024 + thread < found[1] ? candidates[n * 1024 + thread] : 0;
    limit = rankReachedBy(mine, count, bins);
#pragma unroll
    for (int n = 0; n < divideUp(count * 32, 1024); ++n)
      if (mine[n] >= limit)
        best[atomicAdd(found + 2, 1u)] = mine[n];
    __syncthreads();
    // Each goes to the place of its rank; four threads count the larger ones.
    const u32 listed = found[2], index = thread / 4;
    if (thread == 0)
      out[1] = listed;
    u32 place = 0;
    const u64 rank = index < listed ? best[index] : 0;
    for (u32 j = thread % 4; j < listed; j += 4)
      place += best[j] > rank;
    place = quadSum(place);
    if (index < listed && thread % 4 == 0)
      out[2 + 2 * place] = __float_as_uint(rankedLogit(rank)), out[3 + 2 * place] = rankedId(rank);
  }
}

} // namespace fusebox
