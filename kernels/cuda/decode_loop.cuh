// All layers of a decode step of one token as one launch: a persistent kernel, one block a multiprocessor.
//
// One warp of a block streams its share of every matrix through a ring of slots in shared memory, layer after
// layer and without pause; few copies are in flight at a time, since what waits in the memory system delays
// every other access. Eight warps multiply, and hand results to other blocks as words that tell by themselves
// whether they are there (exchange.cuh): a product fetches the first of its weights to registers, then waits
// for its input. There is no barrier between blocks.
//
// The rounding points and the order of every sum are those of the kernels whose work this is: norm, q, k, v
// (linear_skinny); prepare_heads; attention_decode; output product with the residual sum; norm, gate, up,
// activation; down product with the residual sum (linear_skinny each). A row's product lies in one block
// whatever the grid, so bits don't depend on it.
//
// After the megakernels of Hazy Research ("Look Ma, No Bubbles!", 2025), and NCCL's LL protocol for the
// words.
#pragma once
#include "decode_loop_attention.cuh"
#include "decode_loop_products.cuh"
#include "linear_skinny.cuh"

namespace fusebox {

/// S: layers, blocks (of the grid), slots (of the ring), inFlight (of them, those that may be on their way),
/// ownBytes (of shared memory beside the ring), arguments (of a layer), place0 to place19 (among them);
/// parts, the shapes of the kernels named above: Part0 q, k, v; Part1 heads; Part2 attention; Part3 output
/// product; Part4 gate and up; Part5 down.
///
/// args: the table [layers][arguments] of addresses. A layer's arguments: h after it, h before it
/// [1, hidden]; angles; kv pool; weights of q, k, v, their norm's gain, their biases; gains of q and k;
/// weight and bias of the output product; gate, up, their norm's gain; weight and bias of down.
template <class Given> struct DecodeLoop {
  struct S : Given {
    static constexpr int slotBytes = 16384, ringWarps = 8;
  };
  // clang-format off
  enum Argument {
    argOut, argIn, argAngles, argPool, argQ, argK, argV, argQkvGain, argBiasQ, argBiasK, argBiasV, argGainQ,
    argGainK, argO, argBiasO, argGate, argUp, argGateGain, argDown, argBiasDown, argCount
  };
  // clang-format on
  using Attention = LoopAttention<S>;
  using Qkv = LoopProduct<S, typename S::Part0, 0>;
  using GateUp = LoopProduct<S, typename S::Part4, Qkv::nextExtra>;
  using Out = LoopProduct<S, typename S::Part3, GateUp::nextExtra>;
  using Down = LoopProduct<S, typename S::Part5, GateUp::nextExtra>;
  static constexpr int warps = 8, threads = 32 * warps, hidden = Out::outputs;
  using Ring = LoopRing<S>;
  static_assert(Qkv::span == hidden && GateUp::span == hidden && Down::outputs == hidden &&
                    Out::units == Down::units,
                "products of one layer");
  static __device__ constexpr int greater(int a, int b) { return a > b ? a : b; }
  static constexpr int mostRows =
      16 * greater(greater(Qkv::mostTiles, GateUp::mostTiles), greater(Out::mostTiles, Down::mostTiles));

  /// Where a layer's values lie in a set, in pairs.
  static constexpr int pairsQkv = 0, pairsAttention = pairsQkv + Qkv::outputs / 2,
                       pairsMiddle = pairsAttention + Attention::columns / 2,
                       pairsActivation = pairsMiddle + hidden / 2,
                       pairsNext = pairsActivation + GateUp::outputs / 2, layerPairs = pairsNext + hidden / 2,
                       setPairs = S::layers * layerPairs;

  struct Shared {
    float part[2][warps][mostRows];
    float squares[2][warps];
    float residual[divideUp(Out::most * 8, 32) * 32]; ///< of this block's outputs: registers are few
    typename Ring::Barriers barriers;
    void *table[S::layers][argCount];
    typename Attention::Shared attention[2];
  };

  Shared &shared;
  const StepView &step;
  Ring ring{shared.barriers, dynamicShared()};
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int block = blockIdx.x;
  u32 stepNumber = 0;
  int position = 0, splits = 0; ///< of the token
  int buffer = 0;               ///< of sums
  u32 *set = nullptr;           ///< this layer's values
  int toOther = 0;              ///< from there to their places of the next step

  /// Keeps what follows from these within an operation: else the compiler computes addresses of all
  /// operations before the loop over layers, more than there are registers.
  __device__ __forceinline__ void forget() { asm volatile("" : "+r"(warp), "+r"(lane), "+r"(block)); }

  //===-- Weights ---===//

  /// Requests this block's share of a product, whose matrices begin at argument `first`.
  template <class P> __device__ __forceinline__ void requestShare(int layer, int first) {
    using Shape = typename P::Shape;
    const int end = P::firstUnit(block) + P::unitsOf(block);
    for (int unit = P::firstUnit(block); unit < end; ++unit) {
      int row = unit * 8, matrix = first;
      if (!Shape::glu && Shape::part1 && row >= Shape::part0) {
        row -= Shape::part0, ++matrix;
        if (Shape::part2 && row >= Shape::part1)
          row -= Shape::part1, ++matrix;
      }
#pragma unroll
      for (int i = 0; i < P::unitPieces; ++i)
        ring.copy(static_cast<const u8 *>(shared.table[layer][matrix + i]) + u64(row) * P::rowBytes,
                  P::pieceBytes);
    }
  }

  __device__ __forceinline__ void stream() {
    // Positions and pages are on the device before the step's first kernel starts.
    readPosition();
#pragma unroll 1
    for (int layer = 0; layer < S::layers; ++layer) {
      requestShare<Qkv>(layer, argQ);
      attention(0).request(ring, shared.table[layer][argPool]);
      requestShare<Out>(layer, argO);
      requestShare<GateUp>(layer, argGate);
      requestShare<Down>(layer, argDown);
    }
  }

  /// Chunks [first, first + Count) of this lane's row g of the piece that begins `ahead` slots from here,
  /// from a column on.
  template <class P, int Count>
  __device__ __forceinline__ void loadRow(uint4 (&a)[Count], int ahead, int column, int first) const {
    const int g = lane / 4, t = lane % 4;
    const u32 from =
        ring.address(ahead, g * P::rowBytes + column * 2 + (warp * P::perWarp + first) * 64 + t * 16);
    auto load = [&](int c) {
      const bool inside = (P::span % (256 * P::perWarp) == 0 && P::perWarp % Count == 0) ||
                          (first + c < P::perWarp && (warp * P::perWarp + first + c) * 32 + t * 8 < P::span);
      const u32 at = P::pieceSlots == 1 ? from + c * 64 : ring.wrapped(from + c * 64);
      return inside ? loadShared(at) : uint4{0, 0, 0, 0};
    };
    // Rows' equal columns lie in the same banks: odd rows take every two chunks in the other order.
    const bool odd = g % 2;
#pragma unroll
    for (int c = 0; c + 1 < Count; c += 2) {
      const uint4 x = load(c + odd), y = load(c + !odd);
      a[c] = odd ? y : x, a[c + 1] = odd ? x : y;
    }
    if constexpr (Count % 2)
      a[Count - 1] = load(Count - 1);
  }

  /// Chunks of a tile's weights: A fragments of 8 rows and 8 more, or of 8 rows' halves.
  template <class P, int Count>
  __device__ __forceinline__ void loadTile(uint4 (&low)[Count], uint4 (&high)[Count], int ahead, int pieces,
                                           int first) const {
    loadRow<P>(low, ahead, 0, first);
    if constexpr (P::tilePieces == 1) {
      loadRow<P>(high, ahead, P::span, first);
    } else if (pieces > 1) {
      loadRow<P>(high, ahead + P::pieceSlots, 0, first);
    } else {
#pragma unroll
      for (int c = 0; c < Count; ++c)
        high[c] = uint4{0, 0, 0, 0};
    }
  }

  //===-- Products ---===//

  static __device__ __forceinline__ void barrier() {
    asm volatile("bar.sync 1, %0;" ::"n"(threads) : "memory");
  }

  /// Norms the input; the sum of squares has the order of norm.cuh: from chunk to chunk, so from lane to
  /// lane.
  template <class P>
  __device__ __forceinline__ void normInput(LoopInput<P> &in, const LoopInput<P> &gain) const {
    using Skinny = LinearSkinny<typename P::Shape>;
    const int t = lane % 4;
    float sum = 0.f;
#pragma unroll
    for (int c = 0; c < P::perWarp; ++c) {
      if ((warp * P::perWarp + c) * 32 + t * 8 < P::span)
        sum = Skinny::addSquares(sum, in.v[c / 8]);
      sum = __shfl_sync(0xffffffffu, sum, c % 8 * 4 + t);
    }
    sum = quadSum(sum);
    if (lane == 0)
      shared.squares[buffer][warp] = sum;
    barrier();
    const float factor = rmsFactor(Skinny::tree(shared.squares[buffer], 1), P::Shape::in, P::Shape::eps);
#pragma unroll
    for (int i = 0; i < LoopInput<P>::perLane; ++i)
      Skinny::applyNorm(in.v[i], gain.v[i], factor);
  }

  /// Adds chunks [first, first + Count) of a tile to this warp's sums; x(c) is the input's chunk c.
  template <class P, int Count, class Chunk>
  static __device__ __forceinline__ void multiplyChunks(float (&sum)[2][4], const uint4 (&low)[Count],
                                                        const uint4 (&high)[Count], Chunk x, int first) {
#pragma unroll
    for (int c = 0; c < Count; ++c) {
      if (first + c >= P::perWarp)
        continue;
      const uint4 b = x(first + c);
      mma(sum[0], low[c].x, high[c].x, low[c].y, high[c].y, b.x, b.y);
      mma(sum[1], low[c].z, high[c].z, low[c].w, high[c].w, b.z, b.w);
    }
  }

  /// Leaves this warp's sums of a tile in shared memory.
  template <class P> __device__ __forceinline__ void storePart(const float (&sum)[2][4], int tile) const {
    float d[4];
#pragma unroll
    for (int i = 0; i < 4; ++i)
      d[i] = sum[0][i] + sum[1][i];
    if (lane % 4 != 0)
      return;
    float *part = shared.part[buffer][warp] + tile * P::tilePieces * 8 + lane / 4;
    if constexpr (P::Shape::stacked)
      part[0] = d[0] + d[3];
    else
      part[0] = d[0], part[8] = d[2];
  }

  /// A tile whose weights are still in the ring.
  template <class P, class Chunk>
  __device__ __forceinline__ void multiplyFromRing(Chunk x, int tile, int pieces) {
    ring.await(0, pieces * P::pieceSlots);
    float sum[2][4] = {};
#pragma unroll
    for (int first = 0; first < P::perWarp; first += P::group) {
      uint4 low[P::group], high[P::group];
      loadTile<P>(low, high, 0, pieces, first);
      multiplyChunks<P>(sum, low, high, x, first);
    }
    ring.release(pieces * P::pieceSlots);
    storePart<P>(sum, tile);
  }

  /// Has a vector's lanes chosen here (see loadRow), not where it is used: there others wait.
  static __device__ __forceinline__ void keep(uint4 &v) {
    asm volatile("" : "+r"(v.x), "+r"(v.y), "+r"(v.z), "+r"(v.w));
  }

  /// One product: waits for its input, leaves the warps' sums in shared.part[buffer ^ 1] for finish().
  template <class P>
  __device__ __forceinline__ void multiply(const void *input, bool given, const void *gains) {
    using Shape = typename P::Shape;
    forget();
    const int pieces = P::unitsOf(block) * P::unitPieces;
    LoopInput<P> in, gain;
    if constexpr (Shape::norm)
#pragma unroll
      for (int i = 0; i < LoopInput<P>::perLane; ++i)
        gain.v[i] = streamVector(static_cast<const u16 *>(gains) + LoopInput<P>::column(warp, lane, i));
    auto piecesOf = [&](int tile) { return min(P::tilePieces, pieces - tile * P::tilePieces); };
    // Zeros, else the registers of a tile that this block has not would hold something from layer to layer.
    uint4 low[P::early + 1][P::perWarp] = {}, high[P::early + 1][P::perWarp] = {};
    const int early = min(pieces, P::early * P::tilePieces) * P::pieceSlots;
    ring.await(0, early);
#pragma unroll
    for (int tile = 0; tile < P::early; ++tile)
      if (piecesOf(tile) > 0)
        loadTile<P>(low[tile], high[tile], tile * P::tilePieces * P::pieceSlots, piecesOf(tile), 0);
    ring.release(early);
#pragma unroll
    for (int tile = 0; tile < P::early; ++tile)
#pragma unroll
      for (int c = 0; c < P::perWarp; ++c)
        keep(low[tile][c]), keep(high[tile][c]);
    auto from = [&](int i) { return static_cast<const u16 *>(input) + LoopInput<P>::column(warp, lane, i); };
    if (given) {
      readVectors(in.v, from);
    } else {
      awaitVectors(in.v, from);
      invert(in.v);
    }
    if constexpr (Shape::norm)
      normInput<P>(in, gain);
    uint4 chunks[P::keepsInput ? P::perWarp : 1];
    if constexpr (P::keepsInput)
#pragma unroll
      for (int c = 0; c < P::perWarp; ++c)
        chunks[c] = in.fragment(warp, lane, c);
    auto x = [&](int c) {
      return P::keepsInput ? chunks[P::keepsInput ? c : 0] : in.fragment(warp, lane, c);
    };
#pragma unroll
    for (int tile = 0; tile < P::early; ++tile)
      if (piecesOf(tile) > 0) {
        float sum[2][4] = {};
        multiplyChunks<P>(sum, low[tile], high[tile], x, 0);
        storePart<P>(sum, tile);
      }
    if constexpr (P::early < P::mostTiles)
#pragma unroll 1
      for (int tile = P::early; piecesOf(tile) > 0; ++tile)
        multiplyFromRing<P>(x, tile, piecesOf(tile));
    barrier();
    buffer ^= 1;
  }

  /// Row `row` of the last product's part of this block: the warps' sums joined.
  __device__ __forceinline__ float joined(int row) const {
    float v[warps];
#pragma unroll
    for (int w = 0; w < warps; ++w)
      v[w] = shared.part[buffer ^ 1][w][row];
    return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
  }

  /// The output of this block's share that this thread finishes; none from the end on.
  template <class P> __device__ __forceinline__ bool ownsOutput() const {
    return int(threadIdx.x) < P::unitsOf(block) * 8;
  }
  /// Whether some thread of this warp has one.
  template <class P> __device__ __forceinline__ bool finishes() const {
    return warp * 32 < P::unitsOf(block) * 8;
  }
  template <class P> __device__ __forceinline__ int outputAt() const {
    return P::firstUnit(block) * 8 + threadIdx.x;
  }

  template <class P> __device__ __forceinline__ float biased(float sum, const void *bias, int row) const {
    if constexpr (P::Shape::hasBias)
      return __fadd_rn(sum, load<P::Shape::biasType>(bias, row));
    return sum;
  }

  /// Outputs of two neighbouring threads as a pair; the lower one has it. Warps finish outputs as a whole.
  static __device__ __forceinline__ u32 paired(float value) {
    return packBf16(value, __shfl_down_sync(0xffffffffu, value, 1));
  }
  /// Where this thread's output of a product goes, from pair `pairs` of a layer on; found before the product.
  template <class P> __device__ __forceinline__ u32 *placeOf(int pairs) const {
    u32 *place = set + pairs + outputAt<P>() / 2;
    asm volatile("" : "+l"(place));
    return place;
  }
  __device__ __forceinline__ void publish(u32 *place, u32 pair) const {
    if (threadIdx.x % 2 == 0)
      publishPair(place, place + toOther, pair);
  }

  //===-- A layer's products ---===//

  __device__ __forceinline__ void finishQkv(u32 *place, void *const *args) const {
    using Shape = typename Qkv::Shape;
    const int output = outputAt<Qkv>();
    int row = output, matrix = argBiasQ;
    if (row >= Shape::part0) {
      row -= Shape::part0, ++matrix;
      if (row >= Shape::part1)
        row -= Shape::part1, ++matrix;
    }
    const bool owns = ownsOutput<Qkv>();
    const float in[1] = {biased<Qkv>(joined(owns ? threadIdx.x : 0), args[matrix], owns ? row : 0)};
    const u32 pair = paired(Shape::Body::apply(in));
    if (owns)
      publish(place, pair);
  }

  __device__ __forceinline__ void finishGateUp(u32 *place) const {
    const bool owns = ownsOutput<GateUp>();
    const int row = owns ? threadIdx.x / 8 * 16 + threadIdx.x % 8 : 0;
    const float in[2] = {joined(row), joined(row + 8)};
    const u32 pair = paired(GateUp::Shape::Body::apply(in));
    if (owns)
      publish(place, pair);
  }

  /// A product with the residual sum behind it.
  template <class P> __device__ __forceinline__ u32 finishResidual(const void *bias) const {
    const bool owns = ownsOutput<P>();
    const float in[2] = {biased<P>(joined(owns ? threadIdx.x : 0), bias, owns ? outputAt<P>() : 0),
                         shared.residual[threadIdx.x]};
    const float sum = P::Shape::Body::apply(in);
    shared.residual[threadIdx.x] = sum;
    return paired(sum);
  }

  __device__ __forceinline__ void readPosition() {
    position = __ldg(step.position), splits = Attention::Split::splitsOf(position);
  }

  /// Attention as a half of this block sees it. Items begin at the block before those with more of the output
  /// product's weights, and go on downwards: a half of each block, then the other.
  __device__ __forceinline__ Attention attention(int group) const {
    const int turn = Out::firstExtra - 1 - block + (block >= Out::firstExtra ? S::blocks : 0);
    return {shared.attention[group], step, position, splits, turn + group * S::blocks, group, warp % 4, lane};
  }

  __device__ __forceinline__ void selectLayer(int layer) {
    forget();
    u32 *words = exchangeWords();
    set = words + (stepNumber & 1) * setPairs + layer * layerPairs;
    toOther = stepNumber & 1 ? -setPairs : setPairs;
  }
  static __device__ u32 *exchangeWords();
  static __device__ u32 *stepCounter();

  __device__ __forceinline__ void compute() {
    waitForInputs();
    stepNumber = __ldcg(stepCounter());
    readPosition();
    attention(warp / 4).begin(shared.table[0][argAngles]);
    if (ownsOutput<Out>())
      shared.residual[threadIdx.x] = load<dtBF16>(shared.table[0][argIn], outputAt<Out>());
    const void *input = shared.table[0][argIn];
#pragma unroll 1
    for (int layer = 0; layer < S::layers; ++layer) {
      void *const *args = shared.table[layer];
      selectLayer(layer);
      attention(warp / 4).prefetch(args[argGainQ], args[argGainK]);
      u32 *place = placeOf<Qkv>(pairsQkv);
      multiply<Qkv>(input, layer == 0, args[argQkvGain]);
      if (finishes<Qkv>())
        finishQkv(place, args);
      attention(warp / 4).awaitGains();
      barrier(); // what other warps do next would delay those that finish outputs
      forget();
      attention(warp / 4).run(ring, {set + pairsQkv, set + pairsAttention, set + toOther + pairsAttention,
                                     args + argPool, stepNumber * S::layers + layer + 1});
      place = placeOf<Out>(pairsMiddle);
      multiply<Out>(set + pairsAttention, false, nullptr);
      if (finishes<Out>()) {
        const u32 pair = finishResidual<Out>(args[argBiasO]);
        if (ownsOutput<Out>())
          publish(place, pair);
      }
      barrier();
      place = placeOf<GateUp>(pairsActivation);
      multiply<GateUp>(set + pairsMiddle, false, args[argGateGain]);
      if (finishes<GateUp>())
        finishGateUp(place);
      barrier();
      place = placeOf<Down>(pairsNext);
      multiply<Down>(set + pairsActivation, false, nullptr);
      if (finishes<Down>()) {
        const u32 pair = finishResidual<Down>(args[argBiasDown]);
        if (ownsOutput<Down>() && layer + 1 < S::layers)
          publish(place, pair);
        else if (ownsOutput<Down>() && threadIdx.x % 2 == 0)
          static_cast<u32 *>(args[argOut])[outputAt<Down>() / 2] = pair;
      }
      barrier();
      input = set + pairsNext;
    }
    // The last block that ends counts the step: all have read the number.
    if (threadIdx.x == 0 && atomicInc(stepCounter() + 1, S::blocks - 1) == S::blocks - 1)
      *stepCounter() = stepNumber + 1;
  }

  __device__ __forceinline__ void run(const Args &args) {
    constexpr int places[argCount] = {S::place0,  S::place1,  S::place2,  S::place3,  S::place4,
                                      S::place5,  S::place6,  S::place7,  S::place8,  S::place9,
                                      S::place10, S::place11, S::place12, S::place13, S::place14,
                                      S::place15, S::place16, S::place17, S::place18, S::place19};
    for (int layer = threadIdx.x; layer < S::layers; layer += blockDim.x) {
      const u64 *row = static_cast<const u64 *>(args.p[0]) + layer * S::arguments;
#pragma unroll
      for (int i = 0; i < argCount; ++i)
        shared.table[layer][i] = reinterpret_cast<void *>(__ldg(row + places[i]));
    }
    if (threadIdx.x < S::slots)
      shared.barriers.init(threadIdx.x);
    __syncthreads();
    // Registers are dealt to groups of four warps: the one that copies leaves its own to those that multiply.
    if (warp >= warps) {
      limitRegisters<40>();
      if (threadIdx.x == threads)
        stream();
      __syncwarp();
      letNextStart();
    } else {
      claimRegisters<232>();
      compute();
    }
  }
};

/// Both sets of places; the number of the next step, and how many blocks have ended this one.
template <class S> __device__ u32 loopExchange[2 * DecodeLoop<S>::setPairs];
template <class S> __device__ u32 loopSteps[2];
template <class Given> __device__ u32 *DecodeLoop<Given>::exchangeWords() { return loopExchange<Given>; }
template <class Given> __device__ u32 *DecodeLoop<Given>::stepCounter() { return loopSteps<Given>; }

/// Grid: S::blocks blocks of 384 threads, all at once on the GPU, for a step of one token.
template <class S> __device__ void decode_loop(const Args &args, const StepView &step) {
  using Loop = DecodeLoop<S>;
  static_assert(sizeof(typename Loop::Shared) <= S::ownBytes, "what the launch gives");
  auto *shared =
      static_cast<typename Loop::Shared *>(__cvta_shared_to_generic(dynamicShared() + Loop::Ring::bytes));
  if (__ldg(step.position) >= 0) // else nobody reads what the step computes
    Loop{*shared, step}.run(args);
}

} // namespace fusebox
