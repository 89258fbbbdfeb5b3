// The program of a plan: what the runtime executes. Plain records, the same for every target.
//
// The compiler fills a Program from the `plan` dialect and encodes it into the plan file; the runtime decodes
// it. The runtime knows buffers, weights, kernels, launches and loops; it knows no family, layer or op by
// name.
#pragma once

#include "support/DType.h"
#include "support/Result.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace fusebox::plan {

/// What a buffer or grid grows with: the sizes of one step.
enum class Extent : uint8_t { Fixed = 0, Tokens = 1, LogitsRows = 2, Sequences = 3 };
inline constexpr unsigned extentCount = 4;

enum class TargetKind : uint8_t { Cpu = 0, Cuda = 1 };

/// One target a plan holds code for, e.g. {Cpu, "x86-64-v4", "+avx512bf16"} or {Cuda, "sm_90a", ""}.
struct Target {
  TargetKind kind = TargetKind::Cpu;
  std::string name;
  std::string features; ///< CPU: comma-separated features the code needs; the runtime checks them
};

/// A file that weights come from. Found by the path hint (absolute, or relative to the plan), verified by
/// size and, when its identity is new, by content hash.
struct WeightFile {
  std::string pathHint;
  uint64_t size = 0;
  std::string contentHash; ///< XXH3-128 of the whole file, 32 hex digits
  bool embedded = false;   ///< the bytes are in the plan's own weights section, at embeddedOffset
  uint64_t embeddedOffset = 0;
};

/// Bytes of one stored tensor, or of some rows of it.
struct WeightSource {
  uint32_t file = 0;
  uint64_t offset = 0, bytes = 0;
  DType dtype = DType::BF16;
  std::vector<int64_t> shape; ///< row-major, outermost first
};

/// How stored tensors become what a kernel reads. Ops run in order at load; no op at all means zero copy.
enum class RecipeOpKind : uint8_t {
  Widen = 0,         ///< to DType(args[0]): dequantise or convert, rounding once to nearest even
  UnpermuteRope = 1, ///< undo GGUF's row order of q and k for half-split RoPE; args[0] = heads
  Concatenate = 2,   ///< all sources along the outermost dimension
  Interleave = 3,    ///< rows of the sources alternately, args[0] rows at a time
  Slice = 4,         ///< rows [args[0], args[0] + args[1])
  Repack = 5,        ///< into the order of layout args[0] (runtime/weights/Layouts.h)
  Scale = 6,         ///< rows times powers of two in the plan's constant args[0] (exact)
  AddOne = 7,        ///< stored gain γ becomes 1 + γ, in f32
};
struct RecipeOp {
  RecipeOpKind kind = RecipeOpKind::Widen;
  std::vector<int64_t> args;
};

/// One layer's (or the model's only) instance of a weight.
struct WeightInstance {
  std::vector<WeightSource> sources;
};

/// A weight as kernels see it; instance i belongs to layer firstLayer + i. A weight outside a loop has one
/// instance.
struct Weight {
  std::string name;
  DType dtype = DType::BF16;
  std::vector<int64_t> shape;
  uint64_t bytes = 0; ///< of one instance after its recipe
  uint32_t firstLayer = 0;
  bool perLayer = false;
  bool gathered = false; ///< a step reads one row a token, not all of it: an embedding that is not tied
  std::vector<RecipeOp> recipe;
  std::vector<WeightInstance> instances;
  uint32_t device = 0;
};

/// Data the compiler computed: frequency tables, scales.
struct Constant {
  std::string name;
  std::vector<std::byte> bytes;
};

/// A region of the arena of its extent: it starts at offsetPerUnit × capacity(extent) and holds
/// bytesPerUnit × units bytes. Buffers that are never live together share memory.
struct Buffer {
  std::string name;
  Extent extent = Extent::Tokens;
  uint64_t bytesPerUnit = 0;
  uint64_t offsetPerUnit = 0;
  uint32_t device = 0;
};

/// A paged KV cache: for each of `layers` layers, pages of `pageTokens` tokens, `pageBytes` each (keys then
/// values). The pool of layer l starts at l × pages × pageBytes; page p of the pool at p × pageBytes.
struct KvCache {
  uint32_t layers = 0;
  uint32_t pageTokens = 64;
  uint64_t pageBytes = 0;
  uint32_t device = 0;
};

/// y [rows, out] = x [rows, in] W^T (+ bias [out]), x, W [out, in] and bias bf16, summed in f32 and rounded
/// once to outType.
struct Product {
  uint32_t in = 0, out = 0; ///< 0: no product
  DType outType = DType::BF16;
  bool hasBias = false;
};

/// A compiled kernel. CPU: `entry` is an offset into the target's image. CUDA: `symbol` in module `module`.
struct Kernel {
  std::string name;          ///< unique in the plan, e.g. "linear_bf16.576x1536"
  std::string symbol;        ///< the template it was made from, e.g. "linear_bf16"
  uint32_t target = 0;       ///< index into Program::targets
  uint64_t entry = 0;        ///< CPU
  uint32_t module = 0;       ///< CUDA: index into Program::modules
  uint64_t scratchBytes = 0; ///< CPU: a thread's scratch; CUDA: dynamic shared memory
  uint32_t blockThreads = 0; ///< CUDA
  /// CUDA: the kernel computes just this, of its arguments y, x, W, bias; a library of the machine may do it
  /// instead.
  Product product;
};

/// A number of tasks or blocks along one axis: count × ceil(units(extent) / tile).
struct GridDim {
  Extent extent = Extent::Fixed;
  uint32_t tile = 1;
  uint32_t count = 1;
};

/// One way to run a launch, used when the step has at most maxRows units of the launch's row extent. Of
/// several with the same maxRows the first is what a step runs; it may compute other launches too, or nothing
/// (a count of 0) because another launch does. The last of them computes the launch alone: observers see that
/// one.
///
/// A loop variant does the work of its launch for all layers of the loop it is in, in one launch. Then each
/// launch of the loop has one as its first, for the same steps; one of them has the kernel, the others an
/// empty grid. The kernel's first argument is the address of a table of addresses: [layer][argument] of its
/// launch.
struct Variant {
  uint32_t maxRows = UINT32_MAX;
  uint32_t minKeys = 0;   ///< that the step's tokens see, all together
  uint32_t belowKeys = 0; ///< they see fewer than that; 0: no limit
  bool loop = false;
  uint32_t kernel = 0;
  GridDim grid[3]; ///< CPU uses grid[0] × grid[1] × grid[2] tasks
};

enum class ArgKind : uint8_t { Buffer = 0, Weight = 1, Constant = 2, KvCache = 3 };
struct Arg {
  ArgKind kind = ArgKind::Buffer;
  uint32_t index = 0;
};

/// A value of the layer IR that a launch leaves in one of its arguments: what activation dumps and bisection
/// read.
struct NodeValue {
  std::string node; ///< IR name within its block, e.g. "q"; the runtime reports decoder.3.q
  uint32_t arg = 0; ///< index into Launch::args, a buffer
  DType dtype = DType::BF16;
  uint64_t columns = 0;
  uint64_t firstByte = 0; ///< of the value within a unit of the buffer
};

/// One kernel launch. Launches between two barriers are independent and may run together.
struct Launch {
  std::string name; ///< the node, for profiles and errors
  Extent rows = Extent::Tokens;
  std::vector<Variant> variants; ///< after a loop variant, maxRows never falls; the last takes any
  std::vector<Arg> args;
  std::vector<NodeValue> values;
  bool barrierBefore = true; ///< all earlier launches must be complete
  uint32_t device = 0;
  uint32_t selects = 0; ///< runs only in steps that ask for the selection of this count; 0: always
};

enum class InstructionKind : uint8_t { Launch = 0, LoopBegin = 1, LoopEnd = 2 };

/// A way to reduce logits on the device: the launches that select `count` leave in `buffer`, for each logits
/// row, its `count` largest values. A row starts with a SelectedRow, then come its values in order: larger
/// ones first, of equal ones the lower index; NaNs are left out.
struct Selection {
  uint32_t count = 0;
  uint32_t buffer = 0;
};
struct SelectedValue {
  float value;
  uint32_t index;
};
struct SelectedRow {
  float weightSum; ///< of the whole row: exp(value − largest value), summed in f32, relative error below 1e-4
  uint32_t listed; ///< how many values follow; fewer than `count` if the row has no more
};

/// The schedule. LoopBegin runs its body for layers [firstLayer, firstLayer + count); loops don't nest.
struct Instruction {
  InstructionKind kind = InstructionKind::Launch;
  uint32_t launch = 0;     ///< Launch
  uint32_t firstLayer = 0; ///< LoopBegin
  uint32_t count = 0;      ///< LoopBegin
  std::string block;       ///< LoopBegin: IR name of the repeated block, e.g. "decoder"
};

/// A CUDA module: source, and a cubin for each chip it was compiled for.
struct Cubin {
  std::string chip; ///< "sm_90a"
  std::vector<std::byte> bytes;
};
struct Module {
  std::string name, source;
  std::vector<std::string> options;
  std::vector<Cubin> cubins;
};

/// The executable image of a CPU target: position-independent, relocations applied, no imports. Code first.
struct Image {
  uint32_t target = 0;
  uint64_t codeBytes = 0; ///< the first part, mapped executable; the rest is read-only data
  std::vector<std::byte> bytes;
};

/// Facts about the model that text generation and memory estimates need.
struct ModelInfo {
  std::string name, family;
  uint32_t vocabulary = 0, layers = 0, maxPosition = 0;
  DType dtype = DType::BF16; ///< of activations
};

struct Program {
  ModelInfo model;
  std::vector<Target> targets;
  std::vector<WeightFile> files;
  std::vector<Weight> weights;
  std::vector<Constant> constants;
  std::vector<Buffer> buffers;
  std::vector<KvCache> kvCaches;
  std::vector<Kernel> kernels;
  std::vector<Launch> launches;
  std::vector<Instruction> schedule; ///< for targets[0]'s kind; every target of one kind shares it
  std::vector<Image> images;
  std::vector<Module> modules;
  uint32_t logitsBuffer = 0;                ///< [R, vocabulary] f32
  std::vector<Selection> selections;        ///< ascending in count; none: the host reads all logits
  uint64_t arenaUnreused[extentCount] = {}; ///< bytes a unit would take without reuse (reported by inspect)
};

/// Blocks of the kernel that does the work of a launch's whole loop; 0 if the launch has none.
inline uint64_t loopBlocks(const Launch &launch) {
  const Variant &first = launch.variants.front();
  return first.loop ? uint64_t(first.grid[0].count) * first.grid[1].count * first.grid[2].count : 0;
}

/// Bytes of weights that the step of one token reads.
uint64_t bytesReadPerToken(const Program &program);

/// Encodes into the bytes of a plan's program section (little-endian).
std::vector<std::byte> encodeProgram(const Program &program);

/// Decodes and checks: every count, index and offset is in range, so that the executor needs no further
/// checks. Fails with ErrorKind::Model and the field that is wrong.
Result<Program> decodeProgram(std::span<const std::byte> bytes);

} // namespace fusebox::plan
