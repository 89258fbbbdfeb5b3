#include "kernels/cuda/KernelTable.h"

#include "kernels/cuda/DecodeLoopShapes.h"
#include "kernels/cuda/LinearStreamShapes.h"
#include "support/DType.h"

#include <algorithm>

namespace fusebox::cuda {

namespace {

using plan::Extent;
using plan::GridDim;

constexpr Chip allChips[] = {{"sm_80", 108, 164 << 10},
                             {"sm_89", 128, 100 << 10},
                             {"sm_90a", 132, 228 << 10},
                             {"sm_100", 148, 228 << 10}};

uint32_t divideUp(int64_t a, int64_t b) { return uint32_t((a + b - 1) / b); }

Extent rowExtent(const Shape &shape) {
  return shapeInteger(shape, "logitsRows") ? Extent::LogitsRows : Extent::Tokens;
}

/// Blocks of 2048 elements of a [rows, columns] value.
void pointwiseGrid(const Shape &shape, Extent rows, GridDim (&grid)[3]) {
  int64_t columns = std::max<int64_t>(1, shapeInteger(shape, "columns")),
          tile = std::max<int64_t>(1, 2048 / columns);
  grid[0] = {rows, uint32_t(tile), divideUp(tile * columns, 2048)};
}
void elementsGrid(const Shape &shape, unsigned, GridDim (&grid)[3]) {
  pointwiseGrid(shape, rowExtent(shape), grid);
}
void selectedGrid(const Shape &shape, unsigned, GridDim (&grid)[3]) {
  pointwiseGrid(shape, Extent::LogitsRows, grid);
}

void normGrid(const Shape &shape, unsigned, GridDim (&grid)[3]) {
  int64_t groups = shapeInteger(shape, "groups");
  grid[0] = groups == 1 ? GridDim{rowExtent(shape), 4, 1} : GridDim{rowExtent(shape), 1, divideUp(groups, 4)};
}

void tokenGrid(const Shape &, unsigned, GridDim (&grid)[3]) { grid[0] = {Extent::Tokens, 1, 1}; }

void headGrid(const Shape &shape, unsigned, GridDim (&grid)[3]) {
  grid[0] = {Extent::Tokens, 1, 1};
  grid[1] = {Extent::Fixed, 1, divideUp(shapeInteger(shape, "heads") + shapeInteger(shape, "kvHeads"), 4)};
}

/// Blocks of 128 threads: 8 columns of a head each where heads_vectors.cuh takes the heads, else a warp a
/// head.
void prepareGrid(const Shape &shape, unsigned, GridDim (&grid)[3]) {
  int64_t headDim = shapeInteger(shape, "headDim");
  bool vectors =
      (headDim == 64 || headDim == 128 || headDim == 256) && shapeInteger(shape, "rotaryDim") == headDim;
  grid[0] = {Extent::Tokens, 1, 1};
  grid[1] = {
      Extent::Fixed, 1,
      divideUp(shapeInteger(shape, "heads") + shapeInteger(shape, "kvHeads"), vectors ? 1024 / headDim : 4)};
}

void decodeGrid(const Shape &shape, unsigned multiprocessors, GridDim (&grid)[3]) {
  int64_t headDim = shapeInteger(shape, "headDim");
  grid[0] = {Extent::Fixed, 1, multiprocessors * (headDim <= 64 ? 3 : 2)};
}

void attentionStreamGrid(const Shape &shape, unsigned multiprocessors, GridDim (&grid)[3]) {
  grid[0] = {Extent::Fixed, 1, multiprocessors * uint32_t(shapeInteger(shape, "blocks"))};
}
/// A unit of 4 KB for each of four warps.
constexpr int64_t attentionUnitBytes = 4 * 4096;
unsigned attentionStreamShared(const Shape &shape) {
  return unsigned(shapeInteger(shape, "units") * attentionUnitBytes);
}

void rankingGrid(const Shape &shape, unsigned, GridDim (&grid)[3]) {
  grid[0] = {Extent::Fixed, 1, divideUp(shapeInteger(shape, "vocabulary"), 4096)};
  grid[1] = {Extent::LogitsRows, 1, 1};
}
void logitsRowGrid(const Shape &, unsigned, GridDim (&grid)[3]) { grid[0] = {Extent::LogitsRows, 1, 1}; }

/// How LinearSkinny<S> cuts the work; the same arithmetic as in linear_skinny.cuh.
struct SkinnyWork {
  int64_t tiles, blocksPerMultiprocessor;
  bool keepInput;
};
SkinnyWork skinnyWork(const Shape &shape) {
  bool stacked = shapeInteger(shape, "stacked"), glu = shapeInteger(shape, "glu");
  int64_t columnTiles = shapeInteger(shape, "columnTiles");
  int64_t perWarp = divideUp(divideUp(shapeInteger(shape, "in") / (stacked ? 2 : 1), 32), 8);
  int64_t group = std::min<int64_t>(perWarp, columnTiles > 1               ? 6
                                             : perWarp <= 12               ? 12
                                             : shapeInteger(shape, "norm") ? 5
                                                                           : 8),
          outputs = stacked || glu ? 8 : 16;
  bool keepInput = perWarp * columnTiles <= 16, earlyGain = perWarp * columnTiles <= 8;
  int64_t registers = 8 * group + (keepInput ? 4 * perWarp * columnTiles : 8) + 8 * columnTiles +
                      (shapeInteger(shape, "norm") && earlyGain ? 4 * perWarp : 0) + 56;
  int64_t tiles = divideUp(shapeInteger(shape, "part0"), outputs);
  if (!glu)
    tiles +=
        divideUp(shapeInteger(shape, "part1"), outputs) + divideUp(shapeInteger(shape, "part2"), outputs);
  return {tiles, std::clamp<int64_t>(65536 / (256 * registers), 1, 4), keepInput};
}

void skinnyGrid(const Shape &shape, unsigned multiprocessors, GridDim (&grid)[3]) {
  SkinnyWork work = skinnyWork(shape);
  grid[0] = {Extent::Fixed, 1,
             uint32_t(std::min<int64_t>(work.tiles, work.blocksPerMultiprocessor * multiprocessors))};
}

void tileGrid(const Shape &shape, unsigned, GridDim (&grid)[3]) {
  grid[0] = {rowExtent(shape), 128, 1};
  grid[1] = {Extent::Fixed, 1, divideUp(shapeInteger(shape, "out"), 128)};
}

void anyGrid(const Shape &shape, unsigned, GridDim (&grid)[3]) {
  grid[0] = {rowExtent(shape), uint32_t(shapeInteger(shape, "rowTile")), 1};
  grid[1] = {Extent::Fixed, 1, divideUp(shapeInteger(shape, "out"), 8 * shapeInteger(shape, "warpOutputs"))};
}

void tokenHeadGrid(const Shape &shape, unsigned, GridDim (&grid)[3]) {
  grid[0] = {Extent::Tokens, 1, 1};
  grid[1] = {Extent::Fixed, 1, uint32_t(shapeInteger(shape, "heads"))};
}

void prefillGrid(const Shape &shape, unsigned, GridDim (&grid)[3]) {
  grid[0] = {Extent::Tokens, 128, 1};
  grid[1] = {Extent::Fixed, 1, uint32_t(shapeInteger(shape, "heads"))};
}

/// The same arithmetic as in linear_tile_blocks.cuh.
unsigned tileBlocksShared(const Shape &shape) {
  unsigned tile = 128 * 64 * 2, raw = 128 * 2 * blockSize(DType(shapeInteger(shape, "weightType"))).bytes;
  return 3 * (tile + raw) + tile + 2 * 128 * 2 * 4;
}
unsigned tileShared(const Shape &) { return 3 * (128 + 128) * 64 * 2; }
unsigned largestShared(const Shape &shape) {
  int64_t count = shapeInteger(shape, "count");
  return count > 1 ? unsigned(count * 32 * 8) : 0;
}
/// Two stages of keys and values; for Hopper's kernel so many as it wants, and the queries, at a multiple of
/// 1024.
unsigned prefillShared(const Shape &shape) {
  int64_t tile = 64 * shapeInteger(shape, "headDim") * 2, stages = shapeInteger(shape, "stages");
  return unsigned(stages ? (2 + 2 * stages) * tile + 1024 : 4 * tile);
}

std::string largestShape(const Shape &shape) {
  int64_t count = shapeInteger(shape, "count");
  if (shapeInteger(shape, "vocabulary") > 1 << 19)
    return "vocabulary must be at most 524288";
  return count >= 1 && count <= 256 ? "" : "count must be from 1 to 256";
}

std::string tileShape(const Shape &shape) {
  return shapeInteger(shape, "in") % 8 ? "rows of the weight must be whole 16-byte vectors (in % 8 = 0)" : "";
}

std::string tileBlocksShape(const Shape &shape) {
  return shapeInteger(shape, "in") % 64 ? "rows of the weight must be pairs of blocks (in % 64 = 0)" : "";
}

std::string prefillShape(const Shape &shape) {
  int64_t stages = shapeInteger(shape, "stages"), headDim = shapeInteger(shape, "headDim");
  if (stages && (stages < 4 || (headDim != 64 && headDim != 128)))
    return "Hopper's kernel needs 4 stages, and headDim 64 or 128";
  return shapeInteger(shape, "headDim") % 16 == 0 && shapeInteger(shape, "headDim") <= 256
             ? ""
             : "headDim must be a multiple of 16, at most 256";
}

std::string normColumns(const Shape &shape) {
  return shapeInteger(shape, "columns") <= 8192 ? "" : "columns must be at most 8192";
}

std::string skinnyShape(const Shape &shape) {
  bool stacked = shapeInteger(shape, "stacked");
  if (shapeInteger(shape, "in") % (stacked ? 16 : 8))
    return "rows of the weight must be whole 16-byte vectors (in % 8 = 0, stacked % 16 = 0)";
  if (shapeInteger(shape, "norm") && !skinnyWork(shape).keepInput)
    return "a merged norm needs in * columnTiles at most 4096";
  return {};
}

std::string decodeShape(const Shape &shape) {
  int64_t headDim = shapeInteger(shape, "headDim");
  return headDim == 64 || headDim == 128 ? "" : "headDim must be 64 or 128";
}

std::string attentionStreamShape(const Shape &shape) {
  if (shapeInteger(shape, "blocks") < 1 || shapeInteger(shape, "units") < 2)
    return "a block needs rings of 2 units";
  return decodeShape(shape);
}

// Where a merged kernel finds its arguments among those of its launch (base.cuh).
#define FUSEBOX_PLACES                                                                                       \
  "arranged", "place0", "place1", "place2", "place3", "place4", "place5", "place6", "place7", "place8",      \
      "place9", "place10", "place11"

const std::vector<KernelEntry> &table() {
  static const std::vector<KernelEntry> entries = {
      {.symbol = "embed",
       .header = "pointwise.cuh",
       .does = "rows of the embedding table",
       .integers = {"columns", "tableType", FUSEBOX_PLACES},
       .takesBody = true,
       .grid = elementsGrid},
      {.symbol = "select_rows",
       .header = "pointwise.cuh",
       .does = "the rows whose logits are wanted",
       .integers = {"columns", "type"},
       .grid = selectedGrid},
      {.symbol = "pointwise",
       .header = "pointwise.cuh",
       .does = "a generated body for each element: sums, scales, activations, casts",
       .integers = {"columns", "logitsRows", FUSEBOX_PLACES},
       .takesBody = true,
       .grid = elementsGrid},
      {.symbol = "norm",
       .header = "norm.cuh",
       .does = "RMS norm of rows or heads",
       .integers = {"columns", "groups", "type", "gainType", "roundNormalised", "onePlus", "logitsRows"},
       .reals = {"eps"},
       .blockThreads = 128,
       .grid = normGrid,
       .accepts = normColumns},
      {.symbol = "linear_skinny",
       .header = "linear_skinny.cuh",
       .does = "product with up to three bf16 matrices for 1 to 16 rows",
       .integers = {"in", "part0", "part1", "part2", "stacked", "columnTiles", "glu", "norm", "hasBias",
                    "logitsRows", "columns", "type", "gainType", "roundNormalised", "onePlus", "biasType",
                    FUSEBOX_PLACES},
       .reals = {"eps"},
       .takesBody = true,
       .minBlocks = "fusebox::LinearSkinny<S>::minBlocks",
       .maxRows = 16,
       .grid = skinnyGrid,
       .accepts = skinnyShape},
      {.symbol = "linear_tile",
       .header = "linear_tile.cuh",
       .does = "product with a bf16 matrix for many rows",
       .integers = {"in", "out", "hasBias", "biasType", "logitsRows"},
       .takesBody = true,
       .minBlocks = "2",
       .grid = tileGrid,
       .sharedBytes = tileShared,
       .isProduct = true,
       .accepts = tileShape},
      {.symbol = "linear_tile_blocks",
       .header = "linear_tile_blocks.cuh",
       .does = "product with a matrix of GGUF blocks for many rows",
       .integers = {"in", "out", "weightType", "hasBias", "biasType", "logitsRows", FUSEBOX_PLACES},
       .takesBody = true,
       .minBlocks = "2",
       .grid = tileGrid,
       .sharedBytes = tileBlocksShared,
       .accepts = tileBlocksShape},
      {.symbol = "linear_stream",
       .header = "linear_stream.cuh",
       .does = "product with a large bf16 matrix for 1 to 16 rows",
       .integers = {"in", "out", "maxRows", "tileRows", "stageColumns", "stages", "ahead", "hasBias",
                    "biasType", "logitsRows", FUSEBOX_PLACES},
       .takesBody = true,
       .blockThreads = 288,
       .maxRows = 16,
       .grid = linearStreamGrid,
       .sharedBytes = linearStreamShared,
       .accepts = linearStreamAccepts},
      {.symbol = "linear_stream_blocks",
       .header = "linear_stream_blocks.cuh",
       .does = "product with a matrix of GGUF blocks for 1 to 16 rows",
       .integers = {"in", "out", "weightType", "maxRows", "sets", "rowTiles", "wholeRows", "stages", "ahead",
                    "inputPieces", "hasBias", "biasType", "logitsRows", FUSEBOX_PLACES},
       .takesBody = true,
       .maxRows = 16,
       .grid = linearStreamGrid,
       .sharedBytes = linearStreamBlocksShared,
       .threadsOf = linearStreamBlocksThreads,
       .accepts = linearStreamBlocksAccept},
      {.symbol = "linear_any",
       .header = "linear_any.cuh",
       .does = "product with a matrix of any type for any number of rows, in f32",
       .integers = {"in", "out", "weightType", "inType", "hasBias", "biasType", "logitsRows", "rowTile",
                    "warpOutputs", FUSEBOX_PLACES},
       .takesBody = true,
       .grid = anyGrid},
      {.symbol = "rope_angles",
       .header = "rope.cuh",
       .does = "cosines and sines of the step's positions",
       .integers = {"half", "outType"},
       .reals = {"attentionFactor"},
       .blockThreads = 128,
       .grid = tokenGrid},
      {.symbol = "rope",
       .header = "rope.cuh",
       .does = "rotation of q or k",
       .integers = {"heads", "headDim", "rotaryDim", "interleaved", "type", "anglesType", "roundProducts"},
       .blockThreads = 128,
       .grid = headGrid},
      {.symbol = "kv_write",
       .header = "kv_cache.cuh",
       .does = "writes keys and values to the paged cache",
       .integers = {"kvHeads", "headDim", "type"},
       .blockThreads = 128,
       .grid = tokenGrid},
      {.symbol = "prepare_heads",
       .header = "heads.cuh",
       .does = "per-head norm, rotation and KV write in one launch",
       .integers = {"heads", "kvHeads", "headDim", "norm", "type", "roundNormalised", "onePlus", "gainType",
                    "columns", "groups", "rotaryDim", "interleaved", "anglesType", "roundProducts",
                    FUSEBOX_PLACES},
       .reals = {"eps"},
       .blockThreads = 128,
       .grid = prepareGrid},
      {.symbol = "attention_decode",
       .header = "attention_decode.cuh",
       .does = "attention of single tokens, split over the context",
       .integers = {"heads", "kvHeads", "headDim", "type", "window"},
       .reals = {"scale", "softcap"},
       .blockThreads = 128,
       .minBlocks = "fusebox::AttentionDecode<S>::minBlocks",
       .maxRows = 16,
       .grid = decodeGrid,
       .accepts = decodeShape},
      {.symbol = "attention_stream",
       .header = "attention_stream.cuh",
       .does = "attention of single tokens over a long context",
       .integers = {"heads", "kvHeads", "headDim", "type", "window", "blocks", "units"},
       .reals = {"scale", "softcap"},
       .blockThreads = 160,
       .minBlocks = "S::blocks",
       .maxRows = 16,
       .grid = attentionStreamGrid,
       .sharedBytes = attentionStreamShared,
       .accepts = attentionStreamShape},
      {.symbol = "decode_loop",
       .header = "decode_loop.cuh",
       .does = "all layers for one token in one launch",
       .integers = {"layers", "blocks", "slots", "inFlight", "ownBytes", "arguments", FUSEBOX_PLACES,
                    "place12", "place13", "place14", "place15", "place16", "place17", "place18", "place19"},
       .parts = {"linear_skinny", "prepare_heads", "attention_decode", "linear_skinny", "linear_skinny",
                 "linear_skinny"},
       .blockThreads = 384,
       .maxRows = 1,
       .grid = decodeLoopGrid,
       .sharedBytes = decodeLoopShared},
      {.symbol = "attention_prefill",
       .header = "attention_prefill.cuh",
       .does = "attention of many tokens, online softmax",
       .integers = {"heads", "kvHeads", "headDim", "type", "window", "stages"},
       .reals = {"scale", "softcap"},
       .minBlocks = "fusebox::PrefillChoice<S>::minBlocks",
       .grid = prefillGrid,
       .sharedBytes = prefillShared,
       .accepts = prefillShape},
      {.symbol = "attention_any",
       .header = "attention_any.cuh",
       .does = "attention of any type and head size",
       .integers = {"heads", "kvHeads", "headDim", "type", "window"},
       .reals = {"scale", "softcap"},
       .blockThreads = 128,
       .grid = tokenHeadGrid},
      {.symbol = "largest_groups",
       .header = "largest.cuh",
       .does = "the largest logit of each group of 32, and sums of exponentials",
       .integers = {"vocabulary"},
       .grid = rankingGrid},
      {.symbol = "largest",
       .header = "largest.cuh",
       .does = "the largest logits of each row, in order",
       .integers = {"vocabulary", "count"},
       .blockThreads = 1024,
       .grid = logitsRowGrid,
       .sharedBytes = largestShared,
       .accepts = largestShape},
  };
  return entries;
}

} // namespace

double shapeValue(const Shape &shape, const std::string &name) {
  auto found = shape.find(name);
  return found == shape.end() ? 0 : found->second;
}

std::span<const KernelEntry> kernelTable() { return table(); }

const KernelEntry *findKernel(const std::string &symbol) {
  for (const KernelEntry &entry : table())
    if (symbol == entry.symbol)
      return &entry;
  return nullptr;
}

std::span<const Chip> chips() { return allChips; }

const Chip *findChip(const std::string &name) {
  for (const Chip &chip : allChips)
    if (name == chip.name)
      return &chip;
  return nullptr;
}

void chooseSkinnyTiles(Shape &shape, unsigned maxRows, unsigned multiprocessors) {
  int64_t tiles = divideUp(shapeInteger(shape, "part0"), 16) + divideUp(shapeInteger(shape, "part1"), 16) +
                  divideUp(shapeInteger(shape, "part2"), 16);
  bool stacked = !shapeInteger(shape, "glu") && !shapeInteger(shape, "norm") &&
                 tiles < int64_t(multiprocessors) && shapeInteger(shape, "in") % 16 == 0;
  shape["stacked"] = stacked;
  shape["columnTiles"] = divideUp(maxRows, stacked ? 4 : 8);
}

bool skinnyKeepsInput(Shape shape, unsigned multiprocessors) {
  chooseSkinnyTiles(shape, 1, multiprocessors);
  return skinnyWork(shape).keepInput;
}

uint32_t keysIn(int64_t bytes, const Shape &attention) {
  return uint32_t(bytes / (2 * shapeInteger(attention, "kvHeads") * shapeInteger(attention, "headDim") * 2));
}

Shape attentionStreamShapeFor(Shape shape, const Chip &chip) {
  int64_t headDim = shapeInteger(shape, "headDim"), held = shapeInteger(shape, "heads");
  held = std::min<int64_t>(8, held / std::max<int64_t>(1, shapeInteger(shape, "kvHeads")));
  // What a block has beside its rings, and the system's share.
  int64_t own = 2 * 4 * (held * headDim + 2 * 8) * 4 + 4096;
  for (int64_t blocks = 2; blocks >= 1; --blocks) {
    int64_t units = std::min<int64_t>(4, (chip.sharedBytes / blocks - own) / attentionUnitBytes);
    shape["blocks"] = double(blocks), shape["units"] = double(units);
    if (units >= 3)
      break;
  }
  return shape;
}

} // namespace fusebox::cuda
