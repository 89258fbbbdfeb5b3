// The CUDA kernels there are: for each its header, shape constants, limits and launch geometry. The
// compiler selects from this table, and codegen makes sources and launches from it. docs/add-a-kernel.md says
// how to add one.
#pragma once

#include "runtime/plan/Program.h"
#include "support/Result.h"

#include <climits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace fusebox::cuda {

/// Values of a kernel's shape constants by name; types are given as fusebox::DType values.
using Shape = std::map<std::string, double>;

/// Arguments that a launch has at most (base.cuh).
constexpr unsigned maxArgs = 12;

/// One instance of a kernel.
struct KernelRequest {
  std::string symbol;
  Shape shape;
  std::string body = {}; ///< CUDA C++ of the struct Body that it applies to each element, if it takes one
  std::vector<KernelRequest> parts = {}; ///< the kernels whose work it does in one launch, if it is made so
};

/// The constant `name` of a shape; a constant that is not given is 0.
double shapeValue(const Shape &shape, const std::string &name);
inline int64_t shapeInteger(const Shape &shape, const std::string &name) {
  return int64_t(shapeValue(shape, name));
}

struct KernelEntry {
  const char *symbol; ///< also the name of the device function fusebox::symbol<Shape>
  const char *header; ///< in kernels/cuda
  const char *does;   ///< one line for `inspect` and the docs
  std::vector<const char *> integers, reals = {}; ///< the shape constants
  bool takesBody = false;               ///< a generated pointwise body, of what the kernel computes or reads
  std::vector<const char *> parts = {}; ///< the kernels whose work it does, if it is made of others' shapes
  unsigned blockThreads = 256;
  const char *minBlocks = "1"; ///< blocks a multiprocessor must hold: a constant expression over the shape S
  unsigned maxRows = UINT_MAX; ///< rows of a step it takes at most
  /// The grid for a chip with that many multiprocessors.
  void (*grid)(const Shape &, unsigned multiprocessors, plan::GridDim (&)[3]);
  /// Dynamic shared memory of a block, in bytes.
  unsigned (*sharedBytes)(const Shape &) = [](const Shape &) { return 0u; };
  unsigned (*threadsOf)(const Shape &) = nullptr; ///< of a block, where they depend on the shape
  /// It computes a plan::Product of its constants in, out, hasBias, biasType and of its first arguments, and
  /// a body of that.
  bool isProduct = false;
  /// Empty if the kernel takes the shape; else why not.
  std::string (*accepts)(const Shape &) = [](const Shape &) { return std::string(); };

  unsigned threads(const Shape &shape) const { return threadsOf ? threadsOf(shape) : blockThreads; }
};

std::span<const KernelEntry> kernelTable();
const KernelEntry *findKernel(const std::string &symbol);

/// A chip that kernels are compiled for, how many multiprocessors its usual product has, and the shared
/// memory of one of them in bytes (grids and buffers only: results don't depend on them).
struct Chip {
  const char *name;
  unsigned multiprocessors, sharedBytes;
};
std::span<const Chip> chips();
const Chip *findChip(const std::string &name);

/// How linear_skinny cuts a product for a chip: fills stacked and columnTiles of the shape for steps of up to
/// maxRows (at most 16) rows.
void chooseSkinnyTiles(Shape &shape, unsigned maxRows, unsigned multiprocessors);
/// Whether linear_skinny has registers for x in a step of one row: else it reads x anew for each tile.
bool skinnyKeepsInput(Shape shape, unsigned multiprocessors);

/// The shape of attention_stream for a chip: how many blocks share a multiprocessor, and how many units their
/// rings hold (bits don't depend on that).
Shape attentionStreamShapeFor(Shape shape, const Chip &chip);

/// Whether a multiprocessor reads more than 512 KB of a product's weights.
bool takesLong(const Shape &shape, const Chip &chip);

/// The shape of linear_stream for a product with a bf16 matrix of up to maxRows (at most 16) rows: constants
/// of linear_any, and how the weights pass through shared memory (bits don't depend on that). Nothing if it
/// does not take the product.
std::optional<Shape> streamShapeFor(Shape shape, unsigned maxRows, const Chip &chip);

/// The same for linear_stream_blocks, whose matrices are GGUF's blocks; maxRows is 1, 8 or 16.
std::optional<Shape> streamBlocksShapeFor(Shape shape, unsigned maxRows, const Chip &chip);

/// The shape of decode_loop for a model of so many layers and its parts' shapes, but for places; nothing if
/// it does not take them.
std::optional<Shape> decodeLoopShapeFor(std::span<const Shape> parts, int64_t layers, const Chip &chip);
/// The loop is for steps that see fewer keys than this.
uint32_t decodeLoopBelowKeys(const Shape &attention);

/// Keys that take, with their values, so many bytes of a layer's bf16 cache.
uint32_t keysIn(int64_t bytes, const Shape &attention);

} // namespace fusebox::cuda
