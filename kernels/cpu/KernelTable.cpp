#include "kernels/cpu/KernelTable.h"

#include "kernels/cpu/Add.h"
#include "kernels/cpu/AttentionRow.h"
#include "kernels/cpu/Cast.h"
#include "kernels/cpu/Embed.h"
#include "kernels/cpu/Glu.h"
#include "kernels/cpu/KvWrite.h"
#include "kernels/cpu/LinearRow.h"
#include "kernels/cpu/Norm.h"
#include "kernels/cpu/Rope.h"
#include "kernels/cpu/RopeAngles.h"
#include "kernels/cpu/Scale.h"
#include "kernels/cpu/SelectRows.h"
#include "kernels/cpu/Softcap.h"

#include <algorithm>

using namespace fusebox;
using namespace fusebox::cpu;

namespace {

/// Constants with lookups that assume the field is there (checked first by complete()).
struct Shape {
  const Fields &fields;
  const Field &operator[](std::string_view name) const {
    return std::find_if(fields.begin(), fields.end(), [&](const auto &field) { return field.first == name; })
        ->second;
  }
  bool has(std::string_view name) const {
    return std::any_of(fields.begin(), fields.end(), [&](const auto &field) { return field.first == name; });
  }
  int64_t integer(std::string_view name) const { return std::get<int64_t>((*this)[name]); }
  DType type(std::string_view name) const { return DType(integer(name)); }
};

/// How a kernel is cut: tiles to add to its constants, tasks beside those over rows, scratch.
struct Cut {
  uint32_t maxRows = UINT32_MAX;
  int64_t rowTile = 1;
  int64_t colTile = 0; ///< 0: the kernel has none
  int64_t otherTasks = 1;
  uint64_t scratchBytes = 0;
};

struct KernelEntry {
  std::string_view name;
  size_t shapeBytes;
  std::vector<FieldType> fields;
  Result<std::vector<Cut>> (*cuts)(std::string_view kernel, const Shape &shape);
};

Error unsupported(std::string_view kernel, std::string_view what) {
  return modelError("no CPU kernel: " + std::string(kernel) + " " + std::string(what));
}

bool isActivation(DType type) { return type == DType::BF16 || type == DType::F32; }
bool isPlainWeight(DType type) { return isActivation(type) || type == DType::F16; }
bool isWeight(DType type) {
  return isPlainWeight(type) || type == DType::Q8_0 || type == DType::Q4_0 || type == DType::Q4_1;
}

Result<void> expectActivation(std::string_view kernel, const Shape &shape, std::string_view field) {
  if (isActivation(shape.type(field)))
    return {};
  return unsupported(kernel, "with " + std::string(field) + " " + std::string(dtypeName(shape.type(field))) +
                                 ", bf16 or f32 expected");
}
Result<void> expectWeight(std::string_view kernel, const Shape &shape, std::string_view field,
                          int64_t columns) {
  DType type = shape.type(field);
  if (!isWeight(type))
    return unsupported(kernel, "with " + std::string(field) + " " + std::string(dtypeName(type)));
  if (columns % blockSize(type).elements != 0)
    return unsupported(kernel, "with " + std::to_string(columns) + " columns of " +
                                   std::string(dtypeName(type)) + ", a multiple of 32 expected");
  return {};
}

/// Rows a task of an elementwise kernel takes: about 8 K elements, so that a task is some microseconds.
int64_t elementwiseTile(int64_t columns) {
  return std::clamp<int64_t>(8192 / std::max<int64_t>(columns, 1), 1, 64);
}

/// Rows of `columns` elements, every type of which is bf16 or f32.
Result<std::vector<Cut>> cutElementwise(std::string_view kernel, const Shape &shape) {
  for (std::string_view type : {"type", "inType", "outType"})
    if (shape.has(type))
      FUSEBOX_TRY(expectActivation(kernel, shape, type));
  return std::vector<Cut>{{.rowTile = elementwiseTile(shape.integer("columns"))}};
}

Result<std::vector<Cut>> cutEmbed(std::string_view kernel, const Shape &shape) {
  FUSEBOX_TRY(expectActivation(kernel, shape, "outType"));
  FUSEBOX_TRY(expectWeight(kernel, shape, "tableType", shape.integer("columns")));
  return std::vector<Cut>{{.rowTile = elementwiseTile(shape.integer("columns"))}};
}

Result<std::vector<Cut>> cutNorm(std::string_view kernel, const Shape &shape) {
  FUSEBOX_TRY(expectActivation(kernel, shape, "type"));
  if (!isPlainWeight(shape.type("gainType")))
    return unsupported(kernel, "with gain in " + std::string(dtypeName(shape.type("gainType"))));
  return std::vector<Cut>{{.rowTile = elementwiseTile(shape.integer("columns") * shape.integer("groups"))}};
}

Result<std::vector<Cut>> cutRopeAngles(std::string_view kernel, const Shape &shape) {
  FUSEBOX_TRY(expectActivation(kernel, shape, "outType"));
  return std::vector<Cut>{{.rowTile = 16}};
}

Result<std::vector<Cut>> cutRope(std::string_view kernel, const Shape &shape) {
  FUSEBOX_TRY(expectActivation(kernel, shape, "type"));
  FUSEBOX_TRY(expectActivation(kernel, shape, "anglesType"));
  return std::vector<Cut>{{.rowTile = elementwiseTile(shape.integer("heads") * shape.integer("headDim"))}};
}

Result<std::vector<Cut>> cutKvWrite(std::string_view kernel, const Shape &shape) {
  FUSEBOX_TRY(expectActivation(kernel, shape, "type"));
  if (shape.integer("headDim") % 2 != 0)
    return unsupported(kernel, "with an odd headDim");
  return std::vector<Cut>{{.rowTile = elementwiseTile(shape.integer("kvHeads") * shape.integer("headDim"))}};
}

Cut cutAttention(const Shape &shape, uint32_t maxRows, int64_t rowTile) {
  int64_t rows = rowTile * (shape.integer("heads") / shape.integer("kvHeads"));
  int64_t padded = (shape.integer("headDim") + 15) / 16 * 16;
  return {.maxRows = maxRows,
          .rowTile = rowTile,
          .otherTasks = shape.integer("kvHeads"),
          .scratchBytes = uint64_t(rows * (2 * 64 + padded + 2) * 4)};
}

Result<std::vector<Cut>> cutAttentions(std::string_view kernel, const Shape &shape) {
  FUSEBOX_TRY(expectActivation(kernel, shape, "type"));
  int64_t heads = shape.integer("heads"), kvHeads = shape.integer("kvHeads");
  if (shape.integer("headDim") % 2 != 0)
    return unsupported(kernel, "with an odd headDim");
  if (kvHeads < 1 || heads % kvHeads != 0)
    return unsupported(kernel, "with heads not a multiple of kvHeads");
  if (shape.integer("rounding") != 0)
    return unsupported(kernel,
                       "with eager rounding, which only the oracle runs; compile with --rounding=sdpa");
  int64_t manyRows = std::max<int64_t>(48 / (heads / kvHeads), 4);
  return std::vector<Cut>{cutAttention(shape, 8, 1), cutAttention(shape, UINT32_MAX, manyRows)};
}

/// One token only; its rotated heads are kept beside what attention keeps.
Result<std::vector<Cut>> cutAttentionRow(std::string_view kernel, const Shape &shape) {
  FUSEBOX_TRY(expectActivation(kernel, shape, "anglesType"));
  FUSEBOX_ASSIGN(std::vector<Cut> cuts, cutAttentions(kernel, shape));
  if (shape.integer("norm") && !isPlainWeight(shape.type("gainType")))
    return unsupported(kernel, "with gain in " + std::string(dtypeName(shape.type("gainType"))));
  int64_t heads = shape.integer("heads") / shape.integer("kvHeads") + 1;
  cuts.resize(1);
  cuts[0].maxRows = 1;
  cuts[0].scratchBytes += uint64_t(heads * shape.integer("headDim") * 4);
  return cuts;
}

/// As linear/Gemm.h's Panel at its largest: 6 columns of 64-byte operands for each 16 elements, scales,
/// minima, Σx.
uint64_t panelBytes(int64_t in, int64_t rowTile) {
  int64_t steps = (in + 15) / 16, blocks = (in + 31) / 32;
  return uint64_t(steps * (6 * 64 + 6 * 4 + 8 * 4) + rowTile * (blocks * 4 + 6 * 64));
}

/// Columns of a task over one row, for each of which it reads so many bytes: some 16 KB of weights. A thread
/// takes tasks that follow each other, so they may be short; and short ones let threads finish together.
int64_t vectorColumns(int64_t columnBytes) {
  return std::max<int64_t>((16 * 1024 / columnBytes + 4) / 8, 1) * 8;
}

/// As linear/Gemv.h has it: a mark and Σx of blocks.
uint64_t vectorBytes(int64_t in) { return 64 + uint64_t(in / 32 * 4 + 63) / 64 * 64; }

Result<std::vector<Cut>> cutLinear(std::string_view kernel, const Shape &shape) {
  FUSEBOX_TRY(expectActivation(kernel, shape, "inType"));
  FUSEBOX_TRY(expectActivation(kernel, shape, "outType"));
  FUSEBOX_TRY(expectWeight(kernel, shape, "weightType", shape.integer("in")));
  if (shape.integer("hasBias") && !isPlainWeight(shape.type("biasType")))
    return unsupported(kernel, "with bias in " + std::string(dtypeName(shape.type("biasType"))));
  int64_t in = shape.integer("in"), out = shape.integer("out");
  BlockSize block = blockSize(shape.type("weightType"));
  int64_t rowBytes = in / block.elements * block.bytes;
  int64_t vectorTile = vectorColumns(rowBytes);
  // Many rows: enough to make packing a panel of weights cheap; short sums' activations stay in a 1 MB cache.
  int64_t rowTile = 128;
  auto tasks = [&](int64_t tile) { return (out + tile - 1) / tile; };
  return std::vector<Cut>{
      {.maxRows = 1,
       .rowTile = 1,
       .colTile = vectorTile,
       .otherTasks = tasks(vectorTile),
       .scratchBytes = vectorBytes(in)},
      {.rowTile = rowTile, .colTile = 96, .otherTasks = tasks(96), .scratchBytes = panelBytes(in, rowTile)}};
}

/// As linear, plus the task's quantised activations: 128 bytes for each 64 elements.
Result<std::vector<Cut>> cutLinearInt8(std::string_view kernel, const Shape &shape) {
  if (!isBlockQuantised(shape.type("weightType")))
    return unsupported(kernel, "with weightType " + std::string(dtypeName(shape.type("weightType"))));
  FUSEBOX_ASSIGN(std::vector<Cut> cuts, cutLinear(kernel, shape));
  for (Cut &cut : cuts)
    cut.scratchBytes += uint64_t(cut.rowTile * ((shape.integer("in") + 63) / 64 * 128) + 64);
  return cuts;
}

/// One row only; the normed row is kept beside what linear keeps.
Result<std::vector<Cut>> cutLinearRow(std::string_view kernel, const Shape &shape) {
  FUSEBOX_ASSIGN(std::vector<Cut> cuts, cutLinear(kernel, shape));
  cuts.resize(1);
  if (shape.integer("ending") == int64_t(LinearRowEnding::Glu)) {
    // Two weights to read for a column.
    cuts[0].colTile = std::max<int64_t>(cuts[0].colTile / 16, 1) * 8;
    cuts[0].otherTasks = (shape.integer("out") + cuts[0].colTile - 1) / cuts[0].colTile;
  }
  if (shape.integer("norm")) {
    if (!isPlainWeight(shape.type("gainType")))
      return unsupported(kernel, "with gain in " + std::string(dtypeName(shape.type("gainType"))));
    cuts[0].scratchBytes += uint64_t(shape.integer("in")) * 4;
  }
  return cuts;
}

/// The fields of a kernel that has a norm in front and takes its arguments at places: those of the kernel it
/// is made of, its own, the norm's, the places.
std::vector<FieldType> mergedFields(std::vector<FieldType> fields, std::vector<const char *> own,
                                    int places) {
  for (const char *name : {"norm", "gainType", "roundNormalised", "onePlus"})
    own.push_back(name);
  for (const char *name : own)
    fields.push_back({name});
  fields.push_back({"eps", true});
  for (int i = 0; i < places; ++i)
    fields.push_back({"place" + std::to_string(i)});
  return fields;
}

const std::vector<KernelEntry> &table() {
  static const std::vector<FieldType> linearFields = {
      {"in"},        {"out"},     {"weightType"}, {"inType"},
      {"outType"},   {"hasBias"}, {"biasType"},   {"roundBeforeF32"},
      {"rowExtent"}, {"rowTile"}, {"colTile"}};
  static const std::vector<FieldType> attentionFields = {{"heads"},         {"kvHeads"},     {"headDim"},
                                                         {"type"},          {"scale", true}, {"window"},
                                                         {"softcap", true}, {"rounding"},    {"rowTile"}};
  static const std::vector<FieldType> linearRowFields =
      mergedFields(linearFields, {"ending", "activation", "roundActivation"}, int(LinearRowArg::Count));
  static const std::vector<FieldType> attentionRowFields =
      mergedFields(attentionFields, {"rotaryDim", "interleaved", "anglesType", "roundProducts"},
                   int(AttentionRowArg::Count));
  static const std::vector<KernelEntry> entries = {
      {"embed",
       sizeof(EmbedShape),
       {{"columns"}, {"tableType"}, {"outType"}, {"scale", true}, {"rowTile"}},
       cutEmbed},
      {"select_rows", sizeof(SelectRowsShape), {{"columns"}, {"type"}, {"rowTile"}}, cutElementwise},
      {"norm",
       sizeof(NormShape),
       {{"columns"},
        {"groups"},
        {"type"},
        {"gainType"},
        {"roundNormalised"},
        {"onePlus"},
        {"eps", true},
        {"rowExtent"},
        {"rowTile"}},
       cutNorm},
      {"linear", sizeof(LinearShape), linearFields, cutLinear},
      {"linear_int8", sizeof(LinearShape), linearFields, cutLinearInt8},
      {"linear_row", sizeof(LinearRowShape), linearRowFields, cutLinearRow},
      {"rope_angles",
       sizeof(RopeAnglesShape),
       {{"half"}, {"outType"}, {"attentionFactor", true}, {"rowTile"}},
       cutRopeAngles},
      {"rope",
       sizeof(RopeShape),
       {{"heads"},
        {"headDim"},
        {"rotaryDim"},
        {"interleaved"},
        {"type"},
        {"anglesType"},
        {"roundProducts"},
        {"rowTile"}},
       cutRope},
      {"kv_write", sizeof(KvWriteShape), {{"kvHeads"}, {"headDim"}, {"type"}, {"rowTile"}}, cutKvWrite},
      {"attention", sizeof(AttentionShape), attentionFields, cutAttentions},
      {"attention_row", sizeof(AttentionRowShape), attentionRowFields, cutAttentionRow},
      {"glu",
       sizeof(GluShape),
       {{"columns"}, {"activation"}, {"type"}, {"roundActivation"}, {"rowExtent"}, {"rowTile"}},
       cutElementwise},
      {"add", sizeof(AddShape), {{"columns"}, {"type"}, {"rowExtent"}, {"rowTile"}}, cutElementwise},
      {"cast",
       sizeof(CastShape),
       {{"columns"}, {"inType"}, {"outType"}, {"rowExtent"}, {"rowTile"}},
       cutElementwise},
      {"scale",
       sizeof(ScaleShape),
       {{"columns"}, {"type"}, {"factor", true}, {"rowExtent"}, {"rowTile"}},
       cutElementwise},
      {"softcap",
       sizeof(SoftcapShape),
       {{"columns"}, {"type"}, {"cap", true}, {"rowExtent"}, {"rowTile"}},
       cutElementwise},
  };
  return entries;
}

const KernelEntry *find(std::string_view kernel) {
  for (const KernelEntry &entry : table())
    if (entry.name == kernel)
      return &entry;
  return nullptr;
}

bool isChosenHere(std::string_view field) {
  return field == "rowExtent" || field == "rowTile" || field == "colTile";
}

/// Every field that the caller owes, with the right kind of number.
Result<void> checkFields(const KernelEntry &entry, const Fields &fields) {
  for (const FieldType &type : entry.fields) {
    if (isChosenHere(type.name))
      continue;
    auto found = std::find_if(fields.begin(), fields.end(),
                              [&](const auto &field) { return field.first == type.name; });
    if (found == fields.end() || std::holds_alternative<double>(found->second) != type.isDouble)
      return internalError("CPU kernel " + std::string(entry.name) + ": constant " + type.name +
                           (found == fields.end() ? " is missing" : " has the wrong kind"));
  }
  return {};
}

} // namespace

Result<std::vector<KernelVariant>> cpu::kernelVariants(const std::string &kernel, const Fields &fields,
                                                       plan::Extent rows) {
  const KernelEntry *entry = find(kernel);
  if (!entry)
    return unsupported(kernel, "is not in kernels/cpu");
  FUSEBOX_TRY(checkFields(*entry, fields));
  FUSEBOX_ASSIGN(std::vector<Cut> cuts, entry->cuts(kernel, Shape{fields}));
  std::vector<KernelVariant> variants;
  for (const Cut &cut : cuts) {
    KernelVariant variant;
    for (const FieldType &type : entry->fields) {
      Field value;
      if (type.name == "rowExtent")
        value = int64_t(rows);
      else if (type.name == "rowTile")
        value = cut.rowTile;
      else if (type.name == "colTile")
        value = cut.colTile;
      else
        value = Shape{fields}[type.name];
      variant.fields.emplace_back(type.name, value);
    }
    variant.maxRows = cut.maxRows;
    variant.grid[0] = {rows, uint32_t(cut.rowTile), 1};
    variant.grid[1] = {plan::Extent::Fixed, 1, uint32_t(cut.otherTasks)};
    variant.scratchBytes = cut.scratchBytes;
    variants.push_back(std::move(variant));
  }
  return variants;
}

Result<std::vector<FieldType>> cpu::kernelFields(const std::string &kernel) {
  const KernelEntry *entry = find(kernel);
  if (!entry)
    return internalError("no CPU kernel is named " + kernel);
  if (entry->shapeBytes != entry->fields.size() * 8)
    return internalError("CPU kernel " + kernel +
                         ": its shape struct and its entry in KernelTable.cpp differ");
  return entry->fields;
}
