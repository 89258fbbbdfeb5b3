// y = x W^T for many rows, bf16 by GGUF blocks of 32, on tensor cores: blocks of 128 rows × 128 outputs, two
// weight blocks a step.
//
// A weight is scale · q (+ least), q a small integer, which bf16 holds exactly. So the tensor cores sum x · q
// over a block without rounding a weight, and each block's sum joins the output's in f32: scale · Σ x q (+
// least · Σ x). Every output is one chain in ascending k; its bits depend on its row alone.
#pragma once
#include "base.cuh"
#include "tiles.cuh"
#include "weights.cuh"

namespace fusebox {

/// S: in (a multiple of 64), out, weightType (Q8_0, Q4_0, Q4_1), hasBias, biasType, logitsRows, Body (of the
/// sum). args: out [rows, out], in [rows, in] bf16, weight [out, in], bias [out] if it has one, the body's
/// other inputs. Grid: (ceil(rows / 128), ceil(out / 128)) blocks of 256 threads,
/// LinearTileBlocks<S>::sharedBytes of dynamic shared memory.
template <class S> struct LinearTileBlocks {
  using Body = typename S::Body;
  static constexpr int rowTile = 128, outTile = 128, depth = 64, stages = 3, steps = S::in / depth;
  static constexpr int rowBytes = S::in / 32 * blockBytes<S::weightType>,
                       stepBytes = 2 * blockBytes<S::weightType>, stepWords = stepBytes / 4;
  static constexpr bool hasLeast = S::weightType == dtQ4_1;
  using Layout = TileLayout<depth>;
  static constexpr int tileBytes = 128 * depth * 2, rawBytes = outTile * stepBytes,
                       scaleBytes = 2 * outTile * 2 * 4; ///< [2 blocks][128 outputs] of scale and least
  static constexpr int stageBytes = tileBytes + rawBytes,
                       sharedBytes = stages * stageBytes + tileBytes + scaleBytes;
  static_assert(S::in % depth == 0 && isBlocks<S::weightType>);

  const Args &args;
  const int rows, firstRow = blockIdx.x * rowTile, firstOut = blockIdx.y * outTile;
  const u32 shared = dynamicShared(), weights = shared + stages * stageBytes, scales = weights + tileBytes;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  static __device__ __forceinline__ u32 sharedHalf(u32 address) {
    u16 v;
    asm volatile("ld.shared.u16 %0, [%1];" : "=h"(v) : "r"(address) : "memory");
    return v;
  }

  /// Starts the copies of step `step`: x's rows, then the weights' bytes.
  __device__ __forceinline__ void copyStep(int step) const {
    const u32 stage = shared + u32(step % stages * stageBytes);
#pragma unroll 1
    for (int i = 0; i < 4; ++i) {
      const int item = i * 256 + threadIdx.x, row = item / 8, chunk = item % 8, global = firstRow + row;
      const bool inside = global < rows;
      copyAsync(Layout::at(stage, row, chunk),
                static_cast<const u16 *>(args.p[1]) +
                    (inside ? u64(global) * S::in + step * depth + chunk * 8 : 0),
                inside);
    }
#pragma unroll 1
    for (int item = threadIdx.x; item < outTile * stepWords; item += 256) {
      const int row = item / stepWords, word = item % stepWords, global = min(firstOut + row, S::out - 1);
      asm volatile(
          "cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(stage + tileBytes + item * 4),
          "l"(static_cast<const u8 *>(args.p[2]) + u64(global) * rowBytes + step * stepBytes + word * 4)
          : "memory");
    }
  }

  /// Two integers of 7 bits and a sign, or of 4 bits less `zero`, one in each half of `pair`, as bf16: 128
  /// plus the low bits is a bf16 of exponent 7, from which 128, or 256 for a negative number, is taken.
  static __device__ __forceinline__ u32 integers(u32 pair, int shift) {
    u32 high, low, value;
    if constexpr (S::weightType == dtQ8_0) {
      high = (pair & 0x007f007fu) | 0x43004300u;
      low = (pair & 0x00800080u) | 0x43004300u;
    } else {
      high = (pair >> shift & 0x000f000fu) | 0x43004300u;
      low = S::weightType == dtQ4_0 ? 0x43084308u : 0x43004300u;
    }
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(value) : "r"(low), "r"(0xbf80bf80u), "r"(high));
    return value;
  }

  /// The step's weights as bf16 integers in tile order; a thread takes one block.
  __device__ __forceinline__ void unpack(int step) const {
    const int row = threadIdx.x / 2, block = threadIdx.x % 2;
    const u32 raw = shared + u32(step % stages * stageBytes) + tileBytes + row * stepBytes +
                    block * blockBytes<S::weightType>;
    constexpr int header = hasLeast ? 4 : 2;
#pragma unroll 1
    for (int chunk = 0; chunk < 4; ++chunk) {
      const bool bytes = S::weightType == dtQ8_0;
      const u32 from = raw + header + (bytes ? chunk : chunk % 2) * 8;
      u32 words[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const u32 pair = sharedHalf(from + 2 * i);
        words[i] = integers((pair & 0xff) | (pair & 0xff00) << 8, chunk / 2 * 4);
      }
      asm volatile("st.shared.v4.u32 [%0], {%1,%2,%3,%4};" ::"r"(Layout::at(weights, row, block * 4 + chunk)),
                   "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3])
                   : "memory");
    }
    const float scale = f16ToF32(u16(sharedHalf(raw))),
                least = hasLeast ? f16ToF32(u16(sharedHalf(raw + 2))) : 0.f;
    asm volatile("st.shared.v2.f32 [%0], {%1,%2};" ::"r"(scales + (block * outTile + row) * 8), "f"(scale),
                 "f"(least)
                 : "memory");
  }

  /// One weight block: warp (m, n) has 64 rows from 64 m and 32 outputs from 32 n.
  __device__ __forceinline__ void multiply(float (&sum)[4][4][4], int step, int block) const {
    const u32 stage = shared + u32(step % stages * stageBytes);
    const int firstM = warp % 2 * 64, firstN = warp / 2 * 32;
    u32 b[2][2][4];
#pragma unroll
    for (int k = 0; k < 2; ++k)
#pragma unroll
      for (int n = 0; n < 2; ++n)
        loadMatrices(b[k][n], Layout::at(weights, firstN + n * 16 + lane % 8 + lane / 16 * 8,
                                         block * 4 + 2 * k + lane / 8 % 2));
#pragma unroll
    for (int m = 0; m < 4; ++m) {
      float part[4][4] = {}, inputs[4] = {};
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        u32 a[4];
        loadMatrices(a, Layout::at(stage, firstM + m * 16 + lane % 16, block * 4 + 2 * k + lane / 16));
#pragma unroll
        for (int n = 0; n < 4; ++n)
          mma(part[n], a[0], a[1], a[2], a[3], b[k][n / 2][n % 2 * 2], b[k][n / 2][n % 2 * 2 + 1]);
        if constexpr (hasLeast)
          mma(inputs, a[0], a[1], a[2], a[3], 0x3f803f80u, 0x3f803f80u);
      }
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        // Of this lane's two columns: scale, least, scale, least.
        const uint4 column = loadShared(scales + (block * outTile + firstN + n * 8 + lane % 4 * 2) * 8);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          float &to = sum[m][n][i];
          to = __fmaf_rn(__uint_as_float(i % 2 ? column.z : column.x), part[n][i], to);
          if constexpr (hasLeast)
            to = __fmaf_rn(__uint_as_float(i % 2 ? column.w : column.y), inputs[i], to);
        }
      }
    }
  }

  __device__ __forceinline__ void finish(int row, int out, float v) const {
    if (row >= rows || out >= S::out)
      return;
    float in[Body::Inputs::count];
    in[0] = v;
    if constexpr (S::hasBias)
      in[0] = __fadd_rn(in[0], load<S::biasType>(args.p[3], out));
    const u64 at = u64(row) * S::out + out;
    loadInputs<1>(typename Body::Inputs{}, in, args, S::hasBias ? 4 : 3, at);
    store<Body::result>(args.p[0], at, Body::apply(in));
  }

  __device__ __forceinline__ void run() const {
    float sum[4][4][4] = {};
    throughRing<stages>(
        steps, [&](int step) { copyStep(step); },
        [&](int step) {
          unpack(step);
          __syncthreads();
#pragma unroll 1
          for (int block = 0; block < 2; ++block)
            multiply(sum, step, block);
        });
    const int row = firstRow + warp % 2 * 64 + lane / 4, out = firstOut + warp / 2 * 32 + lane % 4 * 2;
#pragma unroll
    for (int m = 0; m < 4; ++m)
#pragma unroll
      for (int n = 0; n < 4; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          finish(row + m * 16 + i / 2 * 8, out + n * 8 + i % 2, sum[m][n][i]);
  }
};

template <class S> __device__ void linear_tile_blocks(const Args &launch, const StepView &step) {
  letNextStart();
  const Args args = arranged<S>(launch);
  waitForInputs();
  const int rows = S::logitsRows ? step.logitsRows : step.tokens;
  if (int(blockIdx.x) * LinearTileBlocks<S>::rowTile < rows)
    LinearTileBlocks<S>{args, rows}.run();
}

} // namespace fusebox
