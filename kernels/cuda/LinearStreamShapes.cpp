#include "kernels/cuda/LinearStreamShapes.h"

#include "support/DType.h"

#include <algorithm>

namespace fusebox::cuda {

namespace {

int64_t divideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t roundUp(int64_t a, int64_t b) { return divideUp(a, b) * b; }

/// How LinearStream<S> lays out shared memory; the same arithmetic as in linear_stream.cuh.
struct StreamLayout {
  int64_t stageBytes, inputBytes;
};
StreamLayout streamLayout(const Shape &shape) {
  int64_t columns = shapeInteger(shape, "stageColumns"), in = shapeInteger(shape, "in");
  int64_t rowBytes = columns >= in ? in * 2 : roundUp(columns * 2, 128) + 64;
  int64_t inputBytes = shapeInteger(shape, "maxRows") * (roundUp(in * 2, 128) + 64);
  return {roundUp(8 * rowBytes + 16, 128), inputBytes <= 66 * 1024 ? inputBytes : 0};
}

int64_t rowBytesOf(const Shape &shape) {
  BlockSize block = blockSize(DType(shapeInteger(shape, "weightType")));
  return shapeInteger(shape, "in") / block.elements * int64_t(block.bytes);
}

/// How LinearStreamBlocks<S> lays out shared memory; the same arithmetic as in linear_stream_blocks.cuh.
struct StreamBlocksLayout {
  int64_t pieces, stageBytes, inputBytes, partBytes;
};
StreamBlocksLayout streamBlocksLayout(const Shape &shape) {
  constexpr int64_t warps = 8;
  int64_t rows = shapeInteger(shape, "maxRows"), tileRows = 16 * shapeInteger(shape, "rowTiles");
  int64_t group = 4 * int64_t(blockSize(DType(shapeInteger(shape, "weightType"))).bytes);
  int64_t storedRow = rowBytesOf(shape), pieces = divideUp(storedRow, warps * group);
  int64_t rowStride = shapeInteger(shape, "wholeRows")
                          ? storedRow
                          : (divideUp(pieces == 1 ? storedRow : warps * group, 16) | 1) * 16;
  int64_t pieceInput = warps * (rows == 1 ? 4 * 64 + 16 : 4 * divideUp(rows, 8) * (512 + 32));
  return {pieces, roundUp(tileRows * rowStride + group, 128), shapeInteger(shape, "inputPieces") * pieceInput,
          (rows == 1 ? 4 : 2) * warps * rows * (tileRows + 4) * 4};
}

/// What takes long has a multiprocessor for itself, else two launches' blocks share it.
int64_t sharedRoom(const Shape &shape, const Chip &chip) {
  return takesLong(shape, chip) ? chip.sharedBytes : chip.sharedBytes / 2;
}

} // namespace

void linearStreamGrid(const Shape &shape, unsigned multiprocessors, plan::GridDim (&grid)[3]) {
  grid[0] = {plan::Extent::Fixed, 1, std::min(uint32_t(shapeInteger(shape, "out")), multiprocessors)};
}

unsigned linearStreamShared(const Shape &shape) {
  StreamLayout layout = streamLayout(shape);
  return unsigned(shapeInteger(shape, "stages") * layout.stageBytes + layout.inputBytes);
}

std::string linearStreamAccepts(const Shape &shape) {
  return shapeInteger(shape, "in") % 8 ? "rows of the weight must be whole 16-byte vectors" : "";
}

unsigned linearStreamBlocksShared(const Shape &shape) {
  StreamBlocksLayout layout = streamBlocksLayout(shape);
  return unsigned(shapeInteger(shape, "stages") * layout.stageBytes + layout.inputBytes);
}

unsigned linearStreamBlocksThreads(const Shape &shape) {
  return unsigned(64 + 256 * shapeInteger(shape, "sets"));
}

std::string linearStreamBlocksAccept(const Shape &shape) {
  DType type = DType(shapeInteger(shape, "weightType"));
  if (type != DType::Q8_0 && type != DType::Q4_0 && type != DType::Q4_1)
    return "weights must be Q8_0, Q4_0 or Q4_1";
  return shapeInteger(shape, "in") % (type == DType::Q4_1 ? 32 : 64)
             ? "rows of the weight must be whole 4-byte words"
             : "";
}

bool takesLong(const Shape &shape, const Chip &chip) {
  BlockSize block = blockSize(DType(shapeInteger(shape, "weightType")));
  return shapeInteger(shape, "out") / chip.multiprocessors * shapeInteger(shape, "in") * block.bytes >
         int64_t(block.elements) * (512 << 10);
}

std::optional<Shape> streamShapeFor(Shape shape, unsigned maxRows, const Chip &chip) {
  if (!linearStreamAccepts(shape).empty())
    return std::nullopt;
  int64_t in = shapeInteger(shape, "in");
  shape["maxRows"] = maxRows;
  shape["tileRows"] = maxRows <= 8 ? 32 : 16;
  for (int64_t pieces = divideUp(in * 2, 8192); pieces * 32 < in + 32; ++pieces) {
    shape["stageColumns"] = double(divideUp(in, 32 * pieces) * 32);
    StreamLayout layout = streamLayout(shape);
    int64_t own = 3072 + layout.inputBytes + 64 * int64_t(maxRows) * (shapeInteger(shape, "tileRows") + 4);
    int64_t stages = std::min<int64_t>(12, (int64_t(chip.sharedBytes) - own) / layout.stageBytes);
    if (stages < 3)
      continue;
    shape["stages"] = double(stages);
    shape["ahead"] = double(stages / 2);
    return shape;
  }
  return std::nullopt;
}

std::optional<Shape> streamBlocksShapeFor(Shape shape, unsigned maxRows, const Chip &chip) {
  if (!linearStreamBlocksAccept(shape).empty())
    return std::nullopt;
  shape["maxRows"] = maxRows;
  const int64_t largeStage = chip.sharedBytes / 6; // some must be under way
  int64_t rowBytes = rowBytesOf(shape), share = divideUp(shapeInteger(shape, "out"), chip.multiprocessors);
  shape["wholeRows"] = maxRows == 1 && shapeInteger(shape, "out") % 4 == 0 && 16 * rowBytes <= largeStage;
  int64_t room = sharedRoom(shape, chip);
  // Two tiles a stage share what is read of x, where there are many; x stays if there is room for it.
  bool pairs = share > 64 && (maxRows > 1 || 32 * rowBytes <= largeStage);
  // Of several long rows it had better pass through: to copy it whole would take long.
  int64_t kept = maxRows > 1 && shapeInteger(shape, "in") > 4096 ? 2 : int64_t(1) << 20;
  for (int rowTiles : {pairs ? 2 : 1, 1})
    for (int64_t held : {kept, std::min<int64_t>(kept, 3), int64_t(2), int64_t(1)}) {
      shape["rowTiles"] = rowTiles;
      int64_t pieces = streamBlocksLayout(shape).pieces;
      shape["inputPieces"] = double(std::min(held, pieces));
      StreamBlocksLayout layout = streamBlocksLayout(shape);
      int64_t own = 2048 + layout.inputBytes + layout.partBytes,
              stagesOfTile = shapeInteger(shape, "wholeRows") ? 1 : pieces,
              most = std::clamp<int64_t>(divideUp(share, 16 * rowTiles) * stagesOfTile, 2, 12),
              least = held == 1 ? 2 : std::min<int64_t>(most, 3);
      for (int64_t bytes : {room - own, int64_t(chip.sharedBytes) - own}) {
        int64_t stages = std::min(most, bytes / layout.stageBytes);
        if (stages < least)
          continue;
        // A block with a multiprocessor for itself has registers for two sets, not for those of 16 rows; the
        // sets need stages for whole tiles of each.
        int64_t turn = 2 * stagesOfTile;
        bool two = takesLong(shape, chip) && maxRows <= 8 && held >= pieces && stages >= 2 * turn;
        shape["sets"] = two ? 2 : 1;
        shape["stages"] = double(two ? stages / turn * turn : stages);
        shape["ahead"] = double(stages / 2);
        return shape;
      }
    }
  return std::nullopt;
}

} // namespace fusebox::cuda
