// y = x W^T for 1 to 16 rows of x at the speed of memory, on tensor cores, for matrices that take long or
// have long rows (logits, products of large models).
//
// Every block computes an equal share of the output rows. One warp of it streams their weights into a ring of
// stages in shared memory, from before the kernel's input is ready (waitForInputs) to the end without pause;
// eight warps multiply. x is the A operand of m16n8k16, so 1 to 16 rows cost the same, eight rows of W are B.
//
// Chunk c of 32 columns belongs to warp c % 8. A warp sums its chunks in ascending order (their halves
// apart), then the eight warps' sums are joined as a tree. So a row's bits depend neither on the other rows,
// nor on the grid, nor on how the ring is cut.
#pragma once
#include "base.cuh"
#include "ring.cuh"

namespace fusebox {

/// S: in, out, maxRows (of x: 1 to 16), hasBias, biasType, logitsRows, Body (of the sum). Tiles of tileRows
/// rows pass through a ring of `stages` stages of 8 rows and stageColumns columns; the next kernel's blocks
/// may come when `ahead` stages are left to request. args: out [rows, out], in [rows, in], weight [out, in],
/// bias [out] if it has one, the body's other inputs.
template <class S> struct LinearStream {
  using Body = typename S::Body;
  static constexpr int warps = 8, threads = 32 * warps, tileRows = S::tileRows, parts = tileRows / 8;
  static constexpr int chunks = divideUp(S::in, 32), stageChunks = S::stageColumns / 32;
  static constexpr int pieces = divideUp(S::in, S::stageColumns);
  static constexpr int chunkBytes = 64, storedRow = S::in * 2;
  // A stage of whole rows is one copy; pieces of rows are padded so that lanes of different rows meet in few
  // banks.
  static constexpr int rowBytes =
      pieces == 1 ? storedRow : divideUp(stageChunks * chunkBytes, 128) * 128 + 64;
  static constexpr int stageBytes = divideUp(8 * rowBytes + 16, 128) * 128;
  static constexpr int inputStride = divideUp(S::in * 2, 128) * 128 + 64;
  static constexpr bool inputShared = S::maxRows * inputStride <= 66 * 1024;
  static constexpr int partStride = tileRows + 4;
  static constexpr int perThread = divideUp(tileRows * S::maxRows, threads);
  static_assert(S::in % 8 == 0 && S::stageColumns % 32 == 0, "rows must be whole 16-byte vectors");

  struct Shared {
    float part[2][warps][S::maxRows * partStride];
    StageBarrier full[S::stages], empty[S::stages];
  };

  const Args &args;
  Shared &shared;
  const int rows;
  const u32 ring = dynamicShared(), input = ring + S::stages * stageBytes;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int first = int(u64(S::out) * blockIdx.x / gridDim.x),
            last = int(u64(S::out) * (blockIdx.x + 1) / gridDim.x);

  //===-- The warp that streams weights ---===//

  /// Requests a piece of `count` rows from `output` on for stage `slot`.
  __device__ __forceinline__ void requestStage(int slot, int output, int count, int piece) const {
    const int from = piece * stageChunks * chunkBytes;
    const u8 *rowsFrom = static_cast<const u8 *>(args.p[2]) + u64(output) * storedRow + from;
    const u32 to = ring + slot * stageBytes, bytes = u32(min(stageChunks * chunkBytes, storedRow - from));
    StageBarrier &full = shared.full[slot];
    if constexpr (hasBulkCopies) {
      beginStage(full, count * bytes);
      if (pieces == 1) {
        if (lane == 0)
          copyBulkOnce(to, rowsFrom, count * bytes, full);
      } else if (lane < count) {
        copyBulkOnce(to + lane * rowBytes, rowsFrom + u64(lane) * storedRow, bytes, full);
      }
    } else {
      for (int r = 0; r < count; ++r)
        for (u32 b = lane * 16; b < bytes; b += 512)
          copyAsync(to + r * rowBytes + b, rowsFrom + u64(r) * storedRow + b, true);
      reportCopies(full);
    }
  }

  __device__ __forceinline__ void stream() const {
    const int most = divideUp(last - first, 8) * pieces;
    int i = 0;
    for (int output = first; output < last; output += 8)
      for (int piece = 0; piece < pieces; ++piece, ++i) {
        if (i == max(most - S::ahead, 0))
          letNextStart();
        if (i >= S::stages)
          shared.empty[i % S::stages].wait(u32(i / S::stages - 1) & 1);
        requestStage(i % S::stages, output, min(8, last - output), piece);
      }
  }

  //===-- The warps that multiply ---===//

  static __device__ __forceinline__ void barrier() {
    asm volatile("bar.sync 1, %0;" ::"n"(threads) : "memory");
  }

  __device__ __forceinline__ const u16 *inputRow(int row) const {
    return static_cast<const u16 *>(args.p[1]) + u64(row) * S::in;
  }

  /// Copies x into shared memory.
  __device__ __forceinline__ void stageInput() const {
    constexpr int vectors = S::in / 8;
    for (int i = threadIdx.x; i < rows * vectors; i += threads)
      copyAsync(input + i / vectors * inputStride + i % vectors * 16, inputRow(i / vectors) + i % vectors * 8,
                true);
    commitCopies();
    waitCopies<0>();
    barrier();
  }

  /// 8 elements of row `row` of x at column k.
  __device__ __forceinline__ uint4 inputAt(int row, int k) const {
    if (row >= rows || (S::in % 32 && k >= S::in))
      return uint4{0, 0, 0, 0};
    if constexpr (inputShared)
      return loadShared(input + row * inputStride + k * 2);
    else
      return loadVector(inputRow(row) + k);
  }

  /// Multiplies this warp's chunks of a stage.
  __device__ __forceinline__ void multiply(float (&sum)[2][4], u32 stage, int piece) const {
    const int start = piece * stageChunks, count = min(stageChunks, chunks - start);
    const int own = (warp - start) & (warps - 1);
    constexpr int rounds = divideUp(stageChunks, warps);
#pragma unroll(8)
    for (int j = 0; j < rounds; ++j) {
      const int c = own + j * warps;
      if (c >= count)
        break;
      const int k = (start + c) * 32 + t * 8;
      const uint4 x = inputAt(g, k), y = S::maxRows > 8 ? inputAt(g + 8, k) : uint4{0, 0, 0, 0};
      uint4 w = loadShared(stage + g * rowBytes + c * chunkBytes + t * 16);
      if (S::in % 32 && k >= S::in)
        w = uint4{0, 0, 0, 0};
      mma(sum[0], x.x, y.x, x.y, y.y, w.x, w.y);
      mma(sum[1], x.z, y.z, x.w, y.w, w.z, w.w);
    }
  }

  /// Leaves this warp's sums of 8 outputs in shared memory.
  __device__ __forceinline__ void storePart(const float (&sum)[2][4], float *part) const {
    float *p = part + 2 * t;
    if (g < S::maxRows)
      *reinterpret_cast<float2 *>(p + g * partStride) = float2{sum[0][0] + sum[1][0], sum[0][1] + sum[1][1]};
    if (g + 8 < S::maxRows)
      *reinterpret_cast<float2 *>(p + (g + 8) * partStride) =
          float2{sum[0][2] + sum[1][2], sum[0][3] + sum[1][3]};
  }

  /// The finished element from the warps' sums: bias, then the body (rounding, and what is merged behind it).
  __device__ __forceinline__ void finish(int row, int output, const float *p) const {
    constexpr int stride = S::maxRows * partStride;
    float in[Body::Inputs::count];
    in[0] = ((p[0] + p[stride]) + (p[2 * stride] + p[3 * stride])) +
            ((p[4 * stride] + p[5 * stride]) + (p[6 * stride] + p[7 * stride]));
    if constexpr (S::hasBias)
      in[0] = __fadd_rn(in[0], load<S::biasType>(args.p[3], output));
    const u64 at = u64(row) * S::out + output;
    loadInputs<1>(typename Body::Inputs{}, in, args, S::hasBias ? 4 : 3, at);
    store<Body::result>(args.p[0], at, Body::apply(in));
  }

  __device__ __forceinline__ void compute() const {
    waitForInputs();
    if constexpr (inputShared)
      stageInput();
    int i = 0, buffer = 0;
    for (int tile = first; tile < last; tile += tileRows, buffer ^= 1) {
#pragma unroll
      for (int part = 0; part < parts; ++part) {
        if (tile + part * 8 >= last)
          continue;
        float sum[2][4] = {};
#pragma unroll 1
        for (int piece = 0; piece < pieces; ++piece, ++i) {
          const int slot = i % S::stages;
          shared.full[slot].wait(u32(i / S::stages) & 1);
          multiply(sum, ring + slot * stageBytes, piece);
          __syncwarp();
          if (lane == 0)
            shared.empty[slot].arrive();
        }
        storePart(sum, shared.part[buffer][warp] + part * 8);
      }
      barrier();
#pragma unroll
      for (int e = 0; e < perThread; ++e) {
        const int index = e * threads + int(threadIdx.x), row = index / tileRows, output = index % tileRows;
        if (row < rows && tile + output < last)
          finish(row, tile + output, shared.part[buffer][0] + row * partStride + output);
      }
    }
  }

  __device__ __forceinline__ void run() const {
    if (threadIdx.x < S::stages) {
      shared.full[threadIdx.x].init(copyArrivals);
      shared.empty[threadIdx.x].init(warps);
      publishBarriers();
    }
    __syncthreads();
    if (warp == warps)
      stream();
    else
      compute();
  }
};

/// Grid: any number of blocks of 288 threads.
template <class S> __device__ void linear_stream(const Args &launch, const StepView &step) {
  __shared__ typename LinearStream<S>::Shared shared;
  const Args args = arranged<S>(launch);
  LinearStream<S>{args, shared, S::logitsRows ? step.logitsRows : step.tokens}.run();
}

} // namespace fusebox
