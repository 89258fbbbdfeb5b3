// y = x W^T for 1 to 16 rows of x at the speed of memory, on tensor cores, bf16 weights.
//
// A block computes 16 output rows (or 8, see stacked); its 8 warps split k. A warp streams its weights
// straight into mma fragments: lane (g, t) holds 8 neighbouring k of row g, 8 more of row g + 8, and x enters
// with the same order of k, so nothing is shuffled. Weights are requested before the kernel's input is ready
// (waitForInputs), and the next tile's before the current tile's sums are exchanged.
//
// A column of x meets the same products in the same order whatever the other columns hold, so the bits of a
// row don't depend on the batch, nor, as a tile is computed whole by one block, on the number of blocks.
//
// Up to three matrices that share an input run as one launch (q, k, v). Merged around the product, with every
// rounding point where the separate kernels have it: an RMS norm of the input, and a generated pointwise body
// of one product (its rounding, the residual sum) or of two (gate, up: the gated activation).
#pragma once
#include "base.cuh"
#include "norm.cuh"

namespace fusebox {

/// S: in, part0, part1, part2 (output rows of each matrix, 0 if absent), stacked, columnTiles, glu (the body
/// takes the sums of both products), norm, hasBias, biasType, logitsRows; with norm: columns = in, type,
/// gainType, roundNormalised, onePlus, eps; Body, whose first inputs are the sums.
///
/// stacked: the two halves of k of 8 rows take the place of 16 rows; for few output rows, so that all
/// multiprocessors have work. columnTiles: 8 rows of x each (4 if stacked).
///
/// args: out of each part (one with glu), in [rows, in], weight of each part (gate, up), then those that
/// apply of: bias of each part, gain, the body's other inputs.
template <class S> struct LinearSkinny {
  static constexpr int warps = 8, halves = S::stacked ? 2 : 1;
  static constexpr int span = S::in / halves;
  static constexpr int chunks = divideUp(span, 32), perWarp = divideUp(chunks, warps);
  // Chunks: what registers hold beside x and, with a norm, its gains.
  static constexpr int inFlight = S::columnTiles > 1 ? 6 : perWarp <= 12 ? 12 : S::norm ? 5 : 8;
  static constexpr int group = perWarp < inFlight ? perWarp : inFlight, groups = divideUp(perWarp, group);
  static constexpr int tileRows = S::stacked ? 8 : 16, outputs = S::glu ? 8 : tileRows;
  static constexpr int batchStride = S::stacked ? 8 : 20; // 20: no bank conflicts
  static constexpr int maxRows = (8 / halves) * S::columnTiles;
  static constexpr bool keepInput = perWarp * S::columnTiles <= 16, earlyGain = perWarp * S::columnTiles <= 8;
  static constexpr int registers = 8 * group + (keepInput ? 4 * perWarp * S::columnTiles : 8) +
                                   8 * S::columnTiles + (S::norm && earlyGain ? 4 * perWarp : 0) + 56;
  static constexpr int fitting = 65536 / (256 * registers), minBlocks = fitting < 1   ? 1
                                                                        : fitting > 4 ? 4
                                                                                      : fitting;
  static constexpr int parts = S::glu ? 2 : 1 + (S::part1 > 0) + (S::part2 > 0), outs = S::glu ? 1 : parts;
  static constexpr int tiles0 = divideUp(S::part0, outputs);
  static constexpr int tiles1 = S::glu ? 0 : divideUp(S::part1, outputs);
  static constexpr int tiles = tiles0 + tiles1 + (S::glu ? 0 : divideUp(S::part2, outputs));
  static_assert(span % 8 == 0 && span * halves == S::in, "rows must be whole 16-byte vectors");
  static_assert(!(S::glu && (S::stacked || S::hasBias)) && !(S::norm && (S::stacked || !keepInput)),
                "not a merged form");

  struct Shared {
    float part[2][warps][maxRows * batchStride];
    float squares[warps][maxRows];
  };

  /// Where a tile lies: its matrix, its first output row and the matrix's rows.
  struct Tile {
    int part, first, rows;
  };
  static __device__ __forceinline__ Tile tileAt(int i) {
    if (S::glu || i < tiles0)
      return {0, i * outputs, S::part0};
    if (i < tiles0 + tiles1)
      return {1, (i - tiles0) * outputs, S::part1};
    return {2, (i - tiles0 - tiles1) * outputs, S::part2};
  }

  /// Argument `first` of the tile's matrix. Arguments are named by constants only, so that they stay where
  /// the launch put them.
  __device__ __forceinline__ void *ofPart(int first, int part) const {
    if constexpr (parts == 1)
      return args.p[first];
    return part == 0 ? args.p[first] : part == 1 || parts == 2 ? args.p[first + 1] : args.p[first + 2];
  }

  const Args &args;
  const int rows, warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;

  /// The two rows of weights that this lane reads for a tile, from where it begins.
  struct Source {
    const u16 *low, *high;
  };
  __device__ __forceinline__ Source sourceOf(int index) const {
    const Tile tile = tileAt(index);
    const u16 *base = static_cast<const u16 *>(ofPart(outs + 1, tile.part));
    const int row = min(tile.first + g, tile.rows - 1), row2 = min(tile.first + g + 8, tile.rows - 1);
    const u16 *low = base + u64(row) * S::in;
    const u16 *high = S::stacked ? low + span
                      : S::glu   ? static_cast<const u16 *>(args.p[outs + 2]) + u64(row) * S::in
                                 : base + u64(row2) * S::in;
    const int first = warp * perWarp * 32 + t * 8;
    return {low + first, high + first};
  }

  /// Requests chunk `chunk` (of this warp).
  __device__ __forceinline__ void loadChunk(uint4 (&a)[2], const Source &from, int chunk) const {
    const bool inside = (warp * perWarp + chunk) * 32 + t * 8 < span && chunk < perWarp;
    a[0] = inside ? streamVector(from.low + chunk * 32) : uint4{0, 0, 0, 0};
    a[1] = inside ? streamVector(from.high + chunk * 32) : uint4{0, 0, 0, 0};
  }

  /// This lane's 8 elements of x for chunk c (of this warp) and column tile n.
  __device__ __forceinline__ uint4 loadInput(int c, int n) const {
    const int row = S::stacked ? n * 4 + g / 2 : n * 8 + g, k = (warp * perWarp + c) * 32 + t * 8;
    if (row >= rows || k >= span)
      return uint4{0, 0, 0, 0};
    return loadVector(static_cast<const u16 *>(args.p[outs]) + u64(row) * S::in +
                      (S::stacked ? (g & 1) * span : 0) + k);
  }

  /// This lane's 8 gains of the norm for chunk c.
  __device__ __forceinline__ uint4 loadGain(int c) const {
    const int k = (warp * perWarp + c) * 32 + t * 8;
    const u16 *gains = static_cast<const u16 *>(args.p[outs + 1 + parts + (S::hasBias ? parts : 0)]);
    return k < S::in ? streamVector(gains + k) : uint4{0, 0, 0, 0};
  }

  static __device__ __forceinline__ float addSquares(float sum, const uint4 &v) {
    const u32 words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      sum = __fmaf_rn(bf16Low(words[i]), bf16Low(words[i]), sum);
      sum = __fmaf_rn(bf16High(words[i]), bf16High(words[i]), sum);
    }
    return sum;
  }

  static __device__ __forceinline__ void applyNorm(uint4 &v, const uint4 &gain, float factor) {
    u32 words[4] = {v.x, v.y, v.z, v.w};
    const u32 gains[4] = {gain.x, gain.y, gain.z, gain.w};
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if constexpr (S::roundNormalised && !S::onePlus) // two roundings to bf16, as in normed()
        words[i] = multiplyBf16(
            packBf16(__fmul_rn(bf16Low(words[i]), factor), __fmul_rn(bf16High(words[i]), factor)), gains[i]);
      else
        words[i] = packBf16(normed<S>(bf16Low(words[i]), factor, bf16Low(gains[i])),
                            normed<S>(bf16High(words[i]), factor, bf16High(gains[i])));
    v = uint4{words[0], words[1], words[2], words[3]};
  }

  static __device__ __forceinline__ float tree(const float *p, int stride) {
    return ((p[0] + p[stride]) + (p[2 * stride] + p[3 * stride])) +
           ((p[4 * stride] + p[5 * stride]) + (p[6 * stride] + p[7 * stride]));
  }

  /// Norms x in registers, in the order of norm.cuh.
  __device__ __forceinline__ void normInput(uint4 (&x)[keepInput ? perWarp : 1][S::columnTiles],
                                            const uint4 (&gain)[keepInput ? perWarp : 1],
                                            Shared &shared) const {
#pragma unroll
    for (int n = 0; n < S::columnTiles; ++n) {
      float sum = 0.f;
#pragma unroll
      for (int c = 0; c < perWarp; ++c)
        sum = addSquares(sum, x[c][n]);
      sum = quadSum(sum);
      if (t == 0)
        shared.squares[warp][n * 8 + g] = sum;
    }
    __syncthreads();
#pragma unroll
    for (int n = 0; n < S::columnTiles; ++n) {
      const float factor = rmsFactor(tree(&shared.squares[0][n * 8 + g], maxRows), S::in, S::eps);
#pragma unroll
      for (int c = 0; c < perWarp; ++c)
        applyNorm(x[c][n], earlyGain ? gain[c] : loadGain(c), factor);
    }
  }

  /// The finished element: bias, then the body (rounding, and what is merged behind the product).
  __device__ __forceinline__ void finish(const Tile &tile, int output, int batch, float sum, float up) const {
    using Body = typename S::Body;
    const int row = tile.first + output;
    const u64 at = u64(batch) * tile.rows + row;
    float in[Body::Inputs::count];
    in[0] = sum;
    if constexpr (S::glu)
      in[1] = up;
    if constexpr (S::hasBias)
      in[0] = __fadd_rn(sum, load<S::biasType>(ofPart(outs + 1 + parts, tile.part), row));
    loadInputs<S::glu ? 2 : 1>(typename Body::Inputs{}, in, args,
                               outs + 1 + parts + (S::hasBias ? parts : 0) + S::norm, at);
    store<Body::result>(S::glu ? args.p[0] : ofPart(0, tile.part), at, Body::apply(in));
  }

  /// Leaves this warp's part of a tile in shared memory.
  __device__ __forceinline__ void storePart(const float (&sum)[S::columnTiles][2][4], float *part) const {
#pragma unroll
    for (int n = 0; n < S::columnTiles; ++n) {
      float d[4];
#pragma unroll
      for (int i = 0; i < 4; ++i)
        d[i] = sum[n][0][i] + sum[n][1][i];
      if constexpr (S::stacked) {
        part[(n * 4 + t) * batchStride + g] = d[0] + d[3];
      } else {
        float *p = part + (n * 8 + 2 * t) * batchStride + g;
        p[0] = d[0], p[batchStride] = d[1], p[8] = d[2], p[batchStride + 8] = d[3];
      }
    }
  }

  __device__ __forceinline__ void run(Shared &shared) const {
    uint4 a[group][2], x[keepInput ? perWarp : 1][S::columnTiles], gain[keepInput ? perWarp : 1];
    int index = blockIdx.x, buffer = 0;
    Source here{};
    if (index < tiles) {
      here = sourceOf(index);
#pragma unroll
      for (int c = 0; c < group; ++c)
        loadChunk(a[c], here, c);
    }
    if constexpr (S::norm && earlyGain)
#pragma unroll
      for (int c = 0; c < perWarp; ++c)
        gain[c] = loadGain(c);
    waitForInputs();
    if constexpr (keepInput)
#pragma unroll
      for (int c = 0; c < perWarp; ++c)
#pragma unroll
        for (int n = 0; n < S::columnTiles; ++n)
          x[c][n] = loadInput(c, n);
    if constexpr (S::norm)
      normInput(x, gain, shared);
    for (; index < tiles; index += gridDim.x, buffer ^= 1) {
      float sum[S::columnTiles][2][4] = {};
      const bool more = index + int(gridDim.x) < tiles;
      const Source next = more ? sourceOf(index + gridDim.x) : here;
#pragma unroll(keepInput ? groups : 1)
      for (int first = 0; first < groups * group; first += group) {
        // A chunk's registers are filled again as soon as they have been multiplied: requests never pause.
        const bool last = first + group >= groups * group;
#pragma unroll
        for (int c = 0; c < group; ++c) {
#pragma unroll
          for (int n = 0; n < S::columnTiles; ++n) {
            if (first + c >= perWarp)
              continue;
            const uint4 b = keepInput ? x[keepInput ? first + c : 0][n] : loadInput(first + c, n);
            mma(sum[n][0], a[c][0].x, a[c][1].x, a[c][0].y, a[c][1].y, b.x, b.y);
            mma(sum[n][1], a[c][0].z, a[c][1].z, a[c][0].w, a[c][1].w, b.z, b.w);
          }
          if (!last)
            loadChunk(a[c], here, first + group + c);
          else if (more)
            loadChunk(a[c], next, c);
        }
      }
      here = next;
      storePart(sum, shared.part[buffer][warp]);
      __syncthreads();
      const Tile tile = tileAt(index);
      for (int i = threadIdx.x; i < outputs * rows; i += blockDim.x) {
        const int output = i % outputs, batch = i / outputs;
        if (tile.first + output >= tile.rows)
          continue;
        const float *p = shared.part[buffer][0] + batch * batchStride + output;
        finish(tile, output, batch, tree(p, maxRows * batchStride),
               S::glu ? tree(p + 8, maxRows * batchStride) : 0.f);
      }
    }
  }
};

/// Grid: any number of blocks of 256 threads; at most LinearSkinny<S>::tiles find work.
template <class S> __device__ void linear_skinny(const Args &args, const StepView &step) {
  __shared__ typename LinearSkinny<S>::Shared shared;
  letNextStart();
  const Args own = arranged<S>(args);
  LinearSkinny<S>{own, S::logitsRows ? step.logitsRows : step.tokens}.run(shared);
}

} // namespace fusebox
