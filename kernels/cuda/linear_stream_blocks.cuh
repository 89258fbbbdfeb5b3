// y = x W^T for 1 to 16 rows of x and GGUF's blocks at the speed of memory, on tensor cores.
//
// Every block computes an equal share of the output rows. A warp that copies fills a ring of stages in shared
// memory with weights, from before the kernel's input is ready (waitForInputs) to the end without pause; a
// stage holds 16 or 32 rows of W, which are the A operand of m16n8k16. x is B, in the order of k in which a
// lane finds its numbers in a block, with the sum of each chunk of 32 columns beside it. Another warp joins
// the sums of those that multiply, and ends the product.
//
// Groups of four chunks take turns among eight warps; where many tiles of rows pass, two sets of eight take
// turns, so that one's loads meet the other's arithmetic. A warp fetches itself what it needs of x. A chunk
// is a block: its numbers, which bf16 holds exactly (some with an offset, which the sum of x takes away
// again), are multiplied first; the scale (and the minimum, times the sum of x) come in f32. A warp sums the
// first chunks of its groups in ascending order, so the second, third, fourth; then these four, then the
// warps' sums are joined as a tree. So a row's bits depend neither on the other rows, nor on the grid, nor on
// how the ring is cut.
//
// For a single row of x the columns 2 c and 2 c + 1 of B are chunk c of a group, so that lane (g, t) finds
// the product of row g and chunk t in the step in which row g's numbers are that chunk's, and scales it
// alone. Which step that is may differ between rows, and does in stages of whole rows, whose words would else
// lie in few banks. Such a stage is one large copy: many small ones are limited by their number, and copies
// of 16 bytes a lane by the cache that is left beside a large shared memory.
#pragma once
#include "base.cuh"
#include "block_fragments.cuh"
#include "ring.cuh"

namespace fusebox {

/// S: in, out, weightType (blocks), maxRows (of x: 1, 8 or 16), sets (of 8 warps that multiply), rowTiles (of
/// 16 rows in a stage: 1 or 2), wholeRows (whether a stage is whole rows as they lie in memory: for a single
/// row of x, out % 4 = 0), stages, ahead, inputPieces (of x, that a warp has room for; if all, they stay),
/// hasBias, biasType, logitsRows, Body (of the sum). The next kernel's blocks may come when `ahead` stages
/// are left to request. args: out [rows, out], in [rows, in] bf16, weight [out, in], bias [out] if it has
/// one, the body's other inputs.
template <class S> struct LinearStreamBlocks {
  using Body = typename S::Body;
  static constexpr int type = S::weightType, warps = 8, sets = S::sets, rowTiles = S::rowTiles,
                       tileRows = 16 * rowTiles;
  static constexpr bool single = S::maxRows == 1;
  static constexpr int columnTiles = divideUp(S::maxRows, 8);
  /// A piece of a row is a group of 4 chunks for each warp.
  static constexpr int bytesOfBlock = blockBytes<type>, groupBytes = 4 * bytesOfBlock;
  static constexpr int chunks = S::in / 32, groups = divideUp(chunks, 4), pieces = divideUp(groups, warps);
  static constexpr bool ragged = chunks % 4 != 0;
  static constexpr int storedRow = chunks * bytesOfBlock;
  static constexpr int pieceBytes = pieces == 1 ? storedRow : warps * groupBytes,
                       lastBytes = storedRow - (pieces - 1) * pieceBytes;
  static constexpr int copyBytes = storedRow % 16 == 0 ? 16 : storedRow % 8 == 0 ? 8 : 4;
  static constexpr bool bulk = hasBulkCopies && (S::wholeRows || copyBytes == 16);
  /// Rows that a block's share is a multiple of: whole 16 bytes.
  static constexpr int shareUnit = S::wholeRows ? 4 : 1;
  /// Else an odd number of 16 bytes: 8 rows' words lie in different banks.
  static constexpr int rowStride = S::wholeRows ? storedRow : (divideUp(pieceBytes, 16) | 1) * 16;
  /// A group that its row does not fill is read to the end.
  static constexpr int stageBytes = divideUp(tileRows * rowStride + groupBytes, 128) * 128;
  static constexpr int stagePieces = S::wholeRows ? pieces : 1, tileStages = pieces / stagePieces;
  /// x for a warp and piece: the chunks' fragments, then their sums.
  static constexpr int sumsAt = single ? 4 * 64 : 4 * columnTiles * 512,
                       inputBytes = sumsAt + (single ? 16 : 4 * columnTiles * 32);
  static constexpr bool inputStays = S::inputPieces == pieces;
  static constexpr int partStride = tileRows + 4, partBuffers = single ? 4 : 2,
                       perLane = divideUp(tileRows * S::maxRows, 32);
  static_assert(S::in % (type == dtQ4_1 ? 32 : 64) == 0, "rows must be whole 4-byte words");
  // A set waits for a phase of a barrier only after it saw the one before: each slot is one set's.
  static_assert(sets == 1 || (inputStays && S::stages % (sets * tileStages) == 0 && partBuffers % sets == 0));
  static_assert(S::out % shareUnit == 0 && (single ? inputStays : !S::wholeRows));

  struct Shared {
    float part[partBuffers][warps][S::maxRows * partStride];
    StageBarrier full[S::stages], empty[S::stages], partFull[partBuffers], partEmpty[partBuffers];
  };
  /// By 16 rows of W, place of a chunk in its group, column tile, and as mma gives them; a single row of x
  /// has the first of the places and column tiles alone.
  using Sums = float[rowTiles][single ? 1 : 4][columnTiles][4];
  /// What a lane needs of a single row of x for a group: of column g of B, and the sum of chunk t.
  struct Input {
    uint4 x;
    float total;
  };

  const Args &args;
  Shared &shared;
  const int rows;
  const u32 ring = dynamicShared(), inputs = ring + S::stages * stageBytes;
  const int warp = threadIdx.x / 32 % warps, set = threadIdx.x / 32 / warps, lane = threadIdx.x % 32,
            g = lane / 4, t = lane % 4;
  const int first = shareStart(blockIdx.x), last = shareStart(blockIdx.x + 1);
  const int most = divideUp(last - first, tileRows) * tileStages; ///< stages in all

  static __device__ __forceinline__ int shareStart(u32 block) {
    return int(u64(S::out / shareUnit) * block / gridDim.x) * shareUnit;
  }

  //===-- Copying weights ---===//

  /// Copies `Bytes` bytes of each of `count` rows.
  template <int Bytes>
  __device__ __forceinline__ void copyRows(u32 to, const u8 *from, int count, StageBarrier &full) const {
    if constexpr (bulk) {
      beginStage(full, count * Bytes);
      if (lane < count)
        copyBulk(to + lane * rowStride, from + u64(lane) * storedRow, Bytes, full);
    } else {
      constexpr int vectors = Bytes / copyBytes, lanes = vectors % 8 == 0 ? 8 : 4, atOnce = 32 / lanes;
      to += lane / lanes * rowStride + lane % lanes * copyBytes;
      from += lane / lanes * storedRow + lane % lanes * copyBytes;
#pragma unroll
      for (int r = 0; r < tileRows; r += atOnce)
        if (r + lane / lanes < count)
#pragma unroll
          for (int v = 0; v < vectors; v += lanes)
            if (v + lanes <= vectors || v + lane % lanes < vectors)
              copyAsync<copyBytes>(to + r * rowStride + v * copyBytes, from + r * storedRow + v * copyBytes);
      reportCopies(full);
    }
  }

  /// Copies rows as they lie in memory.
  __device__ __forceinline__ void copyWhole(u32 to, const u8 *from, int bytes, StageBarrier &full) const {
    if constexpr (bulk) {
      beginStage(full, bytes);
      if (lane == 0)
        copyBulk(to, from, bytes, full);
    } else {
      for (int b = lane * 16; b < bytes; b += 512)
        copyAsync<16>(to + b, from + b);
      reportCopies(full);
    }
  }

  /// Requests stage i.
  __device__ __forceinline__ void requestStage(int i) const {
    const int output = first + i / tileStages * tileRows, piece = i % tileStages,
              count = min(tileRows, last - output);
    const u8 *from = static_cast<const u8 *>(args.p[2]) + u64(output) * storedRow + piece * pieceBytes;
    const u32 to = ring + i % S::stages * stageBytes;
    StageBarrier &full = shared.full[i % S::stages];
    if constexpr (S::wholeRows)
      copyWhole(to, from, count * storedRow, full);
    else if (lastBytes == pieceBytes || piece < pieces - 1)
      copyRows<pieceBytes>(to, from, count, full);
    else
      copyRows<lastBytes>(to, from, count, full);
  }

  /// All warps have filled the ring once.
  __device__ __forceinline__ void stream() const {
    bool waiting = true;
    for (int i = S::stages; i < most; ++i) {
      if (waiting && i >= most - S::ahead) {
        waiting = false;
        letNextStart();
      }
      shared.empty[i % S::stages].wait(u32(i / S::stages - 1) & 1);
      requestStage(i);
    }
    if (waiting)
      letNextStart();
  }

  //===-- x ---===//

  __device__ __forceinline__ u32 inputOf(int slot) const {
    return inputs + (slot * warps + warp) * inputBytes;
  }

  /// This lane's part of a chunk of the single row.
  __device__ __forceinline__ uint4 fragment(int chunk) const {
    if (chunk >= chunks)
      return uint4{0, 0, 0, 0};
    const u32 *from = static_cast<const u32 *>(args.p[1]) + chunk * 16;
    return inputFragment<type>(t, chunk, [&](int i) { return __ldcg(from + i); });
  }

  /// A single row: what this warp needs of it, put in shared memory.
  __device__ __forceinline__ void stageSingle() const {
    constexpr int atOnce =
        pieces < 8 ? pieces : 8; // all loads of these are under way before the first arrives
#pragma unroll 1
    for (int piece = 0; piece < pieces; piece += atOnce) {
      uint4 x[atOnce];
#pragma unroll
      for (int i = 0; i < atOnce; ++i)
        x[i] = fragment(((piece + i) * warps + warp) * 4 + g / 2);
#pragma unroll
      for (int i = 0; i < atOnce; ++i) {
        const float2 sums = columnSums(x[i]);
        if (piece + i >= pieces)
          continue;
        const u32 to = inputOf(piece + i);
        if (g % 2 == 0)
          storeShared(to + g / 2 * 64 + t * 16, x[i]);
        if (g == 0)
          storeShared(to + sumsAt + t * 4, sums.x);
      }
    }
    __syncwarp();
  }

  __device__ __forceinline__ Input stagedSingle(int piece) const {
    const u32 from = inputOf(piece);
    return {loadShared(from + g / 2 * 64 + t * 16), sharedFloat(from + sumsAt + t * 4)};
  }

  /// Starts copies of what this warp needs of a piece of all rows. The 16-byte vectors of a row's chunk are
  /// permuted by the row's number, so that convertInput meets few banks twice.
  __device__ __forceinline__ void requestInput(int piece, int slot) const {
    const int vector = lane % 16, chunk = (piece * warps + warp) * 4 + vector / 4;
    const u8 *from = static_cast<const u8 *>(args.p[1]) + chunk * 64 + vector % 4 * 16;
    const u32 to = inputOf(slot) + vector / 4 * columnTiles * 512;
    if (chunk < chunks)
#pragma unroll
      for (int i = 0; i < 4 * columnTiles; ++i) {
        const int row = 2 * i + lane / 16;
        copyAsync(to + row * 64 + (vector % 4 ^ row / 2 % 4) * 16, from + u64(row) * (S::in * 2), row < rows);
      }
    commitCopies();
  }

  /// Puts what arrived in the order of fragments, at its own place, and sums the chunks.
  __device__ __forceinline__ void convertInput(int slot) const {
    const u32 to = inputOf(slot);
    uint4 x[4 * columnTiles];
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 4 * columnTiles; ++i)
      x[i] = inputFragment<type>(t, i / columnTiles, [&](int pair) {
        return loadSharedWord(to + i * 512 + g * 64 + (pair / 4 ^ g / 2) * 16 + pair % 4 * 4);
      });
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 4 * columnTiles; ++i) {
      storeShared(to + i * 512 + lane * 16, x[i]);
      const float2 sums = columnSums(x[i]);
      if (g == 0)
        storeShared(to + sumsAt + (i * 8 + 2 * t) * 4, sums);
    }
    __syncwarp();
  }

  //===-- The warps that multiply ---===//

  /// A group of blocks, of this lane's rows from `from` on, times a row of x.
  template <int Tiles>
  __device__ __forceinline__ void multiplySingle(Sums &sum, u32 from, int group, const Input &in) const {
    const int turn = S::wholeRows ? g / 2 : 0;
    float d[Tiles][2] = {};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int place = (i + turn) % 4;
#pragma unroll
      for (int m = 0; m < Tiles; ++m) {
        const u32 block = from + 16 * m * rowStride + place * bytesOfBlock;
        const uint4 a = blockNumbers<type>(block, t, place),
                    b = blockNumbers<type>(block + 8 * rowStride, t, place);
        float products[4] = {};
        mma(products, a.x, b.x, a.y, b.y, in.x.x, in.x.y);
        mma(products, a.z, b.z, a.w, b.w, in.x.z, in.x.w);
        if (place == t)
          d[m][0] = products[0], d[m][1] = products[2];
      }
    }
    const bool inside = !ragged || group * 4 + t < chunks;
#pragma unroll
    for (int m = 0; m < Tiles; ++m) {
      const u32 block = from + 16 * m * rowStride + t * bytesOfBlock;
      blockScale<type>(block, inside).add(sum[m][0][0][0], d[m][0], in.total);
      blockScale<type>(block + 8 * rowStride, inside).add(sum[m][0][0][2], d[m][1], in.total);
    }
  }

  /// The same for all rows of x, which are at `input`.
  template <int Tiles>
  __device__ __forceinline__ void multiplyRows(Sums &sum, u32 from, int group, u32 input) const {
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      if (ragged && group * 4 + c >= chunks)
        break;
      uint4 x[columnTiles];
      float2 total[columnTiles];
#pragma unroll
      for (int n = 0; n < columnTiles; ++n) {
        const int at = c * columnTiles + n;
        x[n] = loadShared(input + at * 512 + lane * 16);
        total[n] = sharedFloats(input + sumsAt + (at * 8 + 2 * t) * 4);
      }
#pragma unroll
      for (int m = 0; m < Tiles; ++m) {
        const u32 block = from + 16 * m * rowStride + c * bytesOfBlock;
        const uint4 a = blockNumbers<type>(block, t, c), b = blockNumbers<type>(block + 8 * rowStride, t, c);
        const auto low = blockScale<type>(block), high = blockScale<type>(block + 8 * rowStride);
#pragma unroll
        for (int n = 0; n < columnTiles; ++n) {
          float d[4] = {}, (&to)[4] = sum[m][c][n];
          mma(d, a.x, b.x, a.y, b.y, x[n].x, x[n].y);
          mma(d, a.z, b.z, a.w, b.w, x[n].z, x[n].w);
          low.add(to[0], d[0], total[n].x);
          low.add(to[1], d[1], total[n].y);
          high.add(to[2], d[2], total[n].x);
          high.add(to[3], d[3], total[n].y);
        }
      }
    }
  }

  template <int Tiles>
  __device__ __forceinline__ void multiplyGroup(Sums &sum, u32 from, int piece, int slot,
                                                const Input &kept) const {
    const int group = piece * warps + warp;
    if (pieces * warps != groups && group >= groups)
      return;
    if constexpr (!single)
      multiplyRows<Tiles>(sum, from, group, inputOf(slot));
    else
      multiplySingle<Tiles>(sum, from, group, pieces == 1 ? kept : stagedSingle(piece));
  }

  /// Leaves this warp's sums of a tile in shared memory.
  __device__ __forceinline__ void storePart(const Sums &sum, float *part) const {
#pragma unroll
    for (int m = 0; m < rowTiles; ++m) {
      if constexpr (single) {
        const float low = quadSum(sum[m][0][0][0]), high = quadSum(sum[m][0][0][2]);
        if (t == 0)
          part[m * 16 + g] = low, part[m * 16 + g + 8] = high;
      } else {
#pragma unroll
        for (int n = 0; n < columnTiles; ++n)
#pragma unroll
          for (int i = 0; i < 4; ++i)
            part[(n * 8 + 2 * t + i % 2) * partStride + m * 16 + g + i / 2 * 8] =
                (sum[m][0][n][i] + sum[m][1][n][i]) + (sum[m][2][n][i] + sum[m][3][n][i]);
      }
    }
  }

  /// What is needed of x before the first stage; a single row's only piece stays in registers.
  __device__ __forceinline__ Input firstInput() const {
    Input kept{};
    if constexpr (single && pieces == 1) {
      kept.x = fragment(warp * 4 + g / 2);
      kept.total = columnSums(kept.x).x;
      return kept;
    }
    if constexpr (single) {
      if (set == 0)
        stageSingle();
    } else {
#pragma unroll 1
      for (int piece = set; piece < S::inputPieces; piece += sets)
        requestInput(piece, piece);
      if constexpr (inputStays) {
        waitCopies<0>();
#pragma unroll 1
        for (int piece = set; piece < pieces; piece += sets)
          convertInput(piece);
      }
    }
    if constexpr (sets > 1)
      asm volatile("bar.sync 1, %0;" ::"n"(32 * warps * sets) : "memory");
    return kept;
  }

  __device__ __forceinline__ void compute() const {
    waitForInputs();
    const Input kept = firstInput();
    int inputSlot = 0, left = divideUp(last - first, tileRows) * pieces; // of pieces; where x does not stay
    for (int tile = set; first + tile * tileRows < last; tile += sets) {
      Sums sum = {};
#pragma unroll 1
      for (int piece = 0; piece < pieces; ++piece, --left) {
        const u32 stage = u32(tile * tileStages + piece / stagePieces), slot = stage % S::stages;
        if (piece % stagePieces == 0)
          shared.full[slot].wait(stage / S::stages & 1);
        if constexpr (!inputStays) {
          waitCopies<S::inputPieces - 1>();
          convertInput(inputSlot);
        }
        const u32 from =
            ring + slot * stageBytes + g * rowStride + (piece % stagePieces * warps + warp) * groupBytes;
        if (rowTiles == 1 || first + tile * tileRows + 16 < last)
          multiplyGroup<rowTiles>(sum, from, piece, inputStays ? piece : inputSlot, kept);
        else
          multiplyGroup<1>(sum, from, piece, inputStays ? piece : inputSlot, kept);
        __syncwarp();
        if constexpr (!inputStays) {
          if (left > S::inputPieces)
            requestInput((piece + S::inputPieces) % pieces, inputSlot);
          else
            commitCopies(); // an empty group, for waitCopies to count
          inputSlot = inputSlot + 1 == S::inputPieces ? 0 : inputSlot + 1;
        }
        if (piece % stagePieces == stagePieces - 1 && lane == 0)
          shared.empty[slot].arrive();
      }
      const int buffer = tile % partBuffers;
      shared.partEmpty[buffer].wait(u32(tile / partBuffers & 1) ^ 1);
      storePart(sum, shared.part[buffer][warp]);
      __syncwarp();
      if (lane == 0)
        shared.partFull[buffer].arrive();
    }
  }

  //===-- The warp that ends products ---===//

  __device__ __forceinline__ float joined(const float *p) const {
    float v[warps];
#pragma unroll
    for (int w = 0; w < warps; ++w)
      v[w] = p[w * S::maxRows * partStride];
#pragma unroll
    for (int w = 1; w < warps; w *= 2)
#pragma unroll
      for (int i = 0; i < warps; i += 2 * w)
        v[i] += v[i + w];
    return v[0];
  }

  __device__ __forceinline__ void finish() const {
    waitForInputs();
    int buffer = 0;
    u32 phase = 0;
    for (int tile = first; tile < last; tile += tileRows) {
      // What else the body reads comes while the sums are not ready.
      float in[perLane][Body::Inputs::count], bias[perLane];
#pragma unroll
      for (int e = 0; e < perLane; ++e) {
        const int row = (e * 32 + lane) / tileRows, output = tile + lane % tileRows;
        if (row >= rows || output >= last)
          continue;
        if constexpr (S::hasBias)
          bias[e] = load<S::biasType>(args.p[3], output);
        loadInputs<1>(typename Body::Inputs{}, in[e], args, S::hasBias ? 4 : 3, u64(row) * S::out + output);
      }
      shared.partFull[buffer].wait(phase);
#pragma unroll
      for (int e = 0; e < perLane; ++e) {
        const int row = (e * 32 + lane) / tileRows, output = tile + lane % tileRows;
        if (row >= rows || output >= last)
          continue;
        in[e][0] = joined(shared.part[buffer][0] + row * partStride + lane % tileRows);
        if constexpr (S::hasBias)
          in[e][0] = __fadd_rn(in[e][0], bias[e]);
        store<Body::result>(args.p[0], u64(row) * S::out + output, Body::apply(in[e]));
      }
      __syncwarp();
      if (lane == 0)
        shared.partEmpty[buffer].arrive();
      if (++buffer == partBuffers)
        buffer = 0, phase ^= 1;
    }
  }

  __device__ __forceinline__ void run() const {
    if (threadIdx.x < S::stages) {
      shared.full[threadIdx.x].init(bulk ? 1 : 32);
      shared.empty[threadIdx.x].init(warps);
    }
    if (threadIdx.x < partBuffers) {
      shared.partFull[threadIdx.x].init(warps);
      shared.partEmpty[threadIdx.x].init(1);
    }
    publishBarriers();
    __syncthreads();
    for (int i = threadIdx.x / 32; i < min(int(S::stages), most); i += warps * sets + 2)
      requestStage(i);
    if (set < sets)
      compute();
    else if (warp == 0)
      finish();
    else
      stream();
  }
};

/// Grid: any number of blocks of 64 + 256 sets threads.
template <class S> __device__ void linear_stream_blocks(const Args &launch, const StepView &step) {
  __shared__ typename LinearStreamBlocks<S>::Shared shared;
  const Args args = arranged<S>(launch);
  LinearStreamBlocks<S>{args, shared, S::logitsRows ? step.logitsRows : step.tokens}.run();
}

} // namespace fusebox
