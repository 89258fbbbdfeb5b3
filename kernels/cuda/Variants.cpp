#include "kernels/cuda/Variants.h"

#include "support/DType.h"

namespace fusebox::cuda {

namespace {

constexpr uint32_t anyRows = UINT32_MAX;
using Variants = std::vector<KernelVariant>;

Error unsupported(const std::string &kernel, const std::string &what) {
  return modelError("no CUDA kernel: " + kernel + " " + what);
}

DType typeOf(const Shape &shape, const char *name) { return DType(shapeInteger(shape, name)); }
bool isActivation(DType type) { return type == DType::BF16 || type == DType::F32; }
bool isPlain(DType type) { return isActivation(type) || type == DType::F16; }
bool isWeight(DType type) {
  return isPlain(type) || type == DType::Q8_0 || type == DType::Q4_0 || type == DType::Q4_1;
}

Result<void> expectType(const std::string &kernel, const Shape &shape, const char *name,
                        bool (*allowed)(DType)) {
  DType type = typeOf(shape, name);
  if (!allowed(type))
    return unsupported(kernel, "with " + std::string(name) + " " + std::string(dtypeName(type)));
  return {};
}

/// The shape with `more` in it.
Shape with(Shape shape, const Shape &more) {
  for (const auto &[name, value] : more)
    shape[name] = value;
  return shape;
}

/// Products of few rows whose weights stream through shared memory; none if no such kernel takes them.
Result<Variants> streamLinear(const Shape &shape, const Chip &chip) {
  Variants variants;
  bool plain = typeOf(shape, "weightType") == DType::BF16;
  for (uint32_t rows : {1u, 8u, 16u})
    if (std::optional<Shape> stream =
            plain ? streamShapeFor(shape, rows, chip) : streamBlocksShapeFor(shape, rows, chip)) {
      FUSEBOX_ASSIGN(KernelVariant variant,
                     makeVariant({plain ? "linear_stream" : "linear_stream_blocks", *stream}, rows, chip));
      variants.push_back(std::move(variant));
    }
  // All or none: both kernels' bits differ.
  return variants.size() == 3 ? variants : Variants();
}

/// Products with bf16 matrices on tensor cores: at memory speed for few rows, in tiles for many.
Result<Variants> tensorLinear(const Shape &shape, const Chip &chip) {
  Shape common = with(shape, {{"part0", shape.at("out")}});
  Variants variants;
  // Where the time is that of the memory, or rows are so long that linear_skinny would read x for each tile.
  if (takesLong(shape, chip) || !skinnyKeepsInput(common, chip.multiprocessors)) {
    FUSEBOX_ASSIGN(variants, streamLinear(shape, chip));
  }
  bool streams = !variants.empty();
  for (uint32_t rows : {4u, 8u, 16u}) {
    if (streams)
      break;
    Shape skinny = common;
    chooseSkinnyTiles(skinny, rows, chip.multiprocessors);
    if (rows == 4 && !shapeInteger(skinny, "stacked"))
      continue; // 8 rows cost the same
    FUSEBOX_ASSIGN(KernelVariant variant, makeVariant({"linear_skinny", skinny}, rows, chip));
    variants.push_back(std::move(variant));
  }
  FUSEBOX_ASSIGN(KernelVariant tile, makeVariant({"linear_tile", common}, anyRows, chip));
  variants.push_back(std::move(tile));
  return variants;
}

Result<Variants> linear(const Shape &shape, const Chip &chip) {
  FUSEBOX_TRY(expectType("linear", shape, "inType", isActivation));
  FUSEBOX_TRY(expectType("linear", shape, "outType", isActivation));
  FUSEBOX_TRY(expectType("linear", shape, "weightType", isWeight));
  if (shapeInteger(shape, "hasBias"))
    FUSEBOX_TRY(expectType("linear", shape, "biasType", isPlain));
  bool bf16 = typeOf(shape, "inType") == DType::BF16 && typeOf(shape, "weightType") == DType::BF16;
  if (bf16 && shapeInteger(shape, "in") % 8 == 0)
    return tensorLinear(shape, chip);
  if (shapeInteger(shape, "in") % blockSize(typeOf(shape, "weightType")).elements != 0)
    return unsupported("linear", "with " + std::to_string(shapeInteger(shape, "in")) + " columns of " +
                                     std::string(dtypeName(typeOf(shape, "weightType"))));
  Variants variants;
  if (typeOf(shape, "inType") == DType::BF16 && blockSize(typeOf(shape, "weightType")).elements == 32) {
    FUSEBOX_ASSIGN(variants, streamLinear(shape, chip));
  }
  bool streams = !variants.empty();
  struct Cut {
    uint32_t maxRows;
    double rowTile, warpOutputs;
  };
  bool tiles = typeOf(shape, "inType") == DType::BF16 &&
               blockSize(typeOf(shape, "weightType")).elements == 32 && shapeInteger(shape, "in") % 64 == 0;
  for (const Cut &cut : {Cut{1, 1, 2}, Cut{4, 4, 2}, Cut{tiles ? 16 : anyRows, 16, 1}}) {
    if (streams && cut.maxRows <= 16)
      continue;
    Shape any = with(shape, {{"rowTile", cut.rowTile}, {"warpOutputs", cut.warpOutputs}});
    FUSEBOX_ASSIGN(KernelVariant variant, makeVariant({"linear_any", any}, cut.maxRows, chip));
    variants.push_back(std::move(variant));
  }
  if (tiles) {
    FUSEBOX_ASSIGN(KernelVariant tile, makeVariant({"linear_tile_blocks", shape}, anyRows, chip));
    variants.push_back(std::move(tile));
  }
  return variants;
}

Result<Variants> attention(const Shape &shape, const Chip &chip) {
  FUSEBOX_TRY(expectType("attention", shape, "type", isActivation));
  int64_t heads = shapeInteger(shape, "heads"), kvHeads = shapeInteger(shape, "kvHeads");
  int64_t headDim = shapeInteger(shape, "headDim");
  if (kvHeads < 1 || heads % kvHeads != 0)
    return unsupported("attention", "with heads not a multiple of kvHeads");
  if (headDim > 512)
    return unsupported("attention", "with heads of more than 512 columns");
  if (shapeInteger(shape, "rounding") != 0)
    return unsupported("attention", "with eager rounding; import with --rounding=sdpa");
  bool tensor = typeOf(shape, "type") == DType::BF16 && headDim % 16 == 0 && headDim <= 256;
  Variants variants;
  if (tensor && (headDim == 64 || headDim == 128)) {
    // Of a long context. Measured on an H200: from so many keys and values on it is the faster one.
    FUSEBOX_ASSIGN(KernelVariant stream,
                   makeVariant({"attention_stream", attentionStreamShapeFor(shape, chip)}, 16, chip));
    stream.minKeys = keysIn(heads / kvHeads >= 4 ? 16 << 20 : 24 << 20, shape);
    variants.push_back(std::move(stream));
    FUSEBOX_ASSIGN(KernelVariant decode, makeVariant({"attention_decode", shape}, 16, chip));
    variants.push_back(std::move(decode));
  }
  Shape prefill = shape;
  prefill["stages"] = std::string_view(chip.name) == "sm_90a" && (headDim == 64 || headDim == 128) ? 4 : 0;
  FUSEBOX_ASSIGN(KernelVariant many,
                 makeVariant({tensor ? "attention_prefill" : "attention_any", prefill}, anyRows, chip));
  variants.push_back(std::move(many));
  return variants;
}

} // namespace

std::vector<SelectionKernels> selectionKernels(uint32_t vocabulary, const Chip &chip) {
  std::vector<SelectionKernels> selections;
  for (uint32_t count : {1u, 256u}) {
    Shape shape = {{"vocabulary", vocabulary}, {"count", count}};
    auto groups = makeVariant({"largest_groups", shape}, anyRows, chip),
         largest = makeVariant({"largest", shape}, anyRows, chip);
    if (!groups || !largest)
      return {};
    // The layouts of largest.cuh.
    uint32_t slices = (vocabulary + 4095) / 4096, groupBytes = slices * (128 + 1) * 8,
             resultBytes = (1 + count) * 8;
    auto padded = [](uint32_t bytes) { return (bytes + 63) / 64 * 64; };
    selections.push_back(
        {count, std::move(*groups), std::move(*largest), padded(groupBytes), padded(resultBytes)});
  }
  return selections;
}

Result<KernelVariant> makeVariant(KernelRequest request, uint32_t maxRows, const Chip &chip) {
  const KernelEntry *entry = findKernel(request.symbol);
  if (!entry)
    return unsupported(request.symbol, "is not in kernels/cuda");
  if (maxRows > entry->maxRows)
    return unsupported(request.symbol, "takes at most " + std::to_string(entry->maxRows) + " rows");
  // The constants the kernel knows, in the order of its entry, and nothing else.
  Shape shape;
  for (const auto *names : {&entry->integers, &entry->reals})
    for (const char *name : *names)
      shape[name] = shapeValue(request.shape, name);
  if (std::string reason = entry->accepts(shape); !reason.empty())
    return unsupported(request.symbol, reason);
  KernelVariant variant;
  variant.maxRows = maxRows;
  variant.blockThreads = entry->threads(shape);
  variant.sharedBytes = entry->sharedBytes(shape);
  entry->grid(shape, chip.multiprocessors, variant.grid);
  variant.request = {std::move(request.symbol), std::move(shape)};
  return variant;
}

Result<std::vector<KernelVariant>> kernelVariants(const std::string &kernel, const Shape &constants,
                                                  plan::Extent rows, const Chip &chip) {
  Shape shape = with(constants, {{"logitsRows", rows == plan::Extent::LogitsRows ? 1.0 : 0.0}});
  if (kernel == "linear")
    return linear(shape, chip);
  if (kernel == "attention")
    return attention(shape, chip);
  for (const char *type : {"type", "outType", "anglesType"})
    if (shape.count(type))
      FUSEBOX_TRY(expectType(kernel, shape, type, isActivation));
  if (shape.count("tableType"))
    FUSEBOX_TRY(expectType(kernel, shape, "tableType", isWeight));
  if (shape.count("gainType"))
    FUSEBOX_TRY(expectType(kernel, shape, "gainType", isPlain));
  FUSEBOX_ASSIGN(KernelVariant only, makeVariant({kernel, shape}, anyRows, chip));
  return Variants{std::move(only)};
}

} // namespace fusebox::cuda
