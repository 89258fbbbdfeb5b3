#include "kernels/cuda/DecodeLoopShapes.h"

#include "support/DType.h"

#include <algorithm>
#include <string_view>

namespace fusebox::cuda {

namespace {

constexpr int64_t slotBytes = 16384; ///< as in decode_loop.cuh
constexpr int64_t leastSlots = 11, mostSlots = 12;

int64_t divideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t outputsOf(const Shape &product) {
  int64_t outputs = shapeInteger(product, "part0");
  if (!shapeInteger(product, "glu"))
    outputs += shapeInteger(product, "part1") + shapeInteger(product, "part2");
  return outputs;
}

/// Whether a product's matrices are whole pieces of 8 rows, its tiles fit into the ring, and a block's part
/// of it into what it has for sums.
bool takesProduct(const Shape &product, const Chip &chip) {
  for (const char *part : {"part0", "part1", "part2"})
    if (shapeInteger(product, part) % 8)
      return false;
  bool stacked = shapeInteger(product, "stacked");
  int64_t in = shapeInteger(product, "in"), span = stacked ? in / 2 : in, tilePieces = stacked ? 1 : 2;
  return in % (stacked ? 16 : 8) == 0 && divideUp(span, 256) <= 16 &&
         tilePieces * divideUp(8 * in * 2, slotBytes) <= leastSlots &&
         divideUp(outputsOf(product) / 8, chip.multiprocessors) <= 64;
}

/// Bytes of DecodeLoop<S>::Shared at most; the kernel checks that they suffice.
int64_t ownBytes(std::span<const Shape> parts, int64_t layers, const Chip &chip) {
  int64_t mostTiles = 0;
  for (unsigned i : {0u, 3u, 4u, 5u}) {
    int64_t units = divideUp(outputsOf(parts[i]) / 8, chip.multiprocessors);
    mostTiles = std::max(mostTiles, shapeInteger(parts[i], "glu") || shapeInteger(parts[i], "stacked")
                                        ? units
                                        : divideUp(units, 2));
  }
  const Shape &attention = parts[2];
  int64_t headDim = shapeInteger(attention, "headDim"),
          held = std::min<int64_t>(2, shapeInteger(attention, "heads") / shapeInteger(attention, "kvHeads"));
  int64_t group = 4 * held * headDim * 4 + 2 * 4 * 8 * 4 // spans
                  + (held + 2) * headDim * 2             // query, key, value
                  + 3 * headDim * 4 + 4 * 64 * 4;        // angles, gains, weights of splits
  int64_t residual = divideUp(divideUp(outputsOf(parts[3]) / 8, chip.multiprocessors), 4) * 32 * 4;
  return 2 * 8 * 16 * mostTiles * 4 + residual + layers * 20 * 8 + 2 * group + 1024;
}

} // namespace

std::optional<Shape> decodeLoopShapeFor(std::span<const Shape> parts, int64_t layers, const Chip &chip) {
  // Bulk copies, and registers dealt anew among warps.
  if (std::string_view(chip.name) != "sm_90a" || parts.size() != 6)
    return std::nullopt;
  for (unsigned i : {0u, 3u, 4u, 5u})
    if (!takesProduct(parts[i], chip))
      return std::nullopt;
  int64_t hidden = shapeInteger(parts[0], "in"), headDim = shapeInteger(parts[2], "headDim");
  if (outputsOf(parts[3]) != hidden || outputsOf(parts[5]) != hidden ||
      shapeInteger(parts[4], "in") != hidden ||
      shapeInteger(parts[3], "in") != shapeInteger(parts[2], "heads") * headDim ||
      shapeInteger(parts[5], "in") != outputsOf(parts[4]))
    return std::nullopt;
  if ((headDim != 64 && headDim != 128) || shapeInteger(parts[1], "rotaryDim") != headDim)
    return std::nullopt;
  for (const Shape &part : parts)
    if (shapeInteger(part, "norm") && DType(shapeInteger(part, "gainType")) != DType::BF16)
      return std::nullopt;
  int64_t own = ownBytes(parts, layers, chip), slots = (chip.sharedBytes - 1024 - own) / slotBytes;
  if (slots < leastSlots)
    return std::nullopt;
  // Measured on an H200. What is in flight delays the words that blocks wait for, so it is little; more where
  // a layer is far larger than the ring, and its time that of the memory.
  int64_t layerBytes = 0;
  for (unsigned i : {0u, 3u, 4u, 5u})
    layerBytes +=
        2 * shapeInteger(parts[i], "in") * outputsOf(parts[i]) * (shapeInteger(parts[i], "glu") ? 2 : 1);
  bool large = layerBytes / chip.multiprocessors > 2 * mostSlots * slotBytes;
  return Shape{{"layers", double(layers)},
               {"blocks", double(chip.multiprocessors)},
               {"slots", double(std::min(mostSlots, slots))},
               {"inFlight", large ? 3.0 : 2.0},
               {"ownBytes", double(own)}};
}

// Over more of them attention_stream is faster, and all else matters less.
uint32_t decodeLoopBelowKeys(const Shape &attention) { return keysIn(32 << 20, attention); }

void decodeLoopGrid(const Shape &shape, unsigned, plan::GridDim (&grid)[3]) {
  grid[0] = {plan::Extent::Fixed, 1, uint32_t(shapeInteger(shape, "blocks"))};
}

unsigned decodeLoopShared(const Shape &shape) {
  return unsigned(shapeInteger(shape, "slots") * slotBytes + shapeInteger(shape, "ownBytes"));
}

} // namespace fusebox::cuda
