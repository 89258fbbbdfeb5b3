// The fields of every plan record, in file order: one list, visited by the encoder, the decoder and nobody
// else.
//
// A visitor is called with each field's name and a reference to it. Adding a field at the end of a record
// changes the format: raise formatVersion (runtime/plan/PlanFile.h).
#pragma once

#include "runtime/plan/Program.h"

namespace fusebox::plan {

#define FUSEBOX_FIELDS(TYPE, ...)                                                                            \
  template <typename V> void fields(TYPE &r, V &&v) { __VA_ARGS__ }                                          \
  template <typename V> void fields(const TYPE &r, V &&v) { __VA_ARGS__ }

FUSEBOX_FIELDS(Target, v("kind", r.kind); v("name", r.name); v("features", r.features);)
FUSEBOX_FIELDS(WeightFile, v("pathHint", r.pathHint); v("size", r.size); v("contentHash", r.contentHash);
               v("embedded", r.embedded); v("embeddedOffset", r.embeddedOffset);)
FUSEBOX_FIELDS(WeightSource, v("file", r.file); v("offset", r.offset); v("bytes", r.bytes);
               v("dtype", r.dtype); v("shape", r.shape);)
FUSEBOX_FIELDS(RecipeOp, v("kind", r.kind); v("args", r.args);)
FUSEBOX_FIELDS(WeightInstance, v("sources", r.sources);)
FUSEBOX_FIELDS(Weight, v("name", r.name); v("dtype", r.dtype); v("shape", r.shape); v("bytes", r.bytes);
               v("firstLayer", r.firstLayer); v("perLayer", r.perLayer); v("gathered", r.gathered);
               v("recipe", r.recipe); v("instances", r.instances); v("device", r.device);)
FUSEBOX_FIELDS(Constant, v("name", r.name); v("bytes", r.bytes);)
FUSEBOX_FIELDS(Buffer, v("name", r.name); v("extent", r.extent); v("bytesPerUnit", r.bytesPerUnit);
               v("offsetPerUnit", r.offsetPerUnit); v("device", r.device);)
FUSEBOX_FIELDS(KvCache, v("layers", r.layers); v("pageTokens", r.pageTokens); v("pageBytes", r.pageBytes);
               v("device", r.device);)
FUSEBOX_FIELDS(Product, v("in", r.in); v("out", r.out); v("outType", r.outType); v("hasBias", r.hasBias);)
FUSEBOX_FIELDS(Kernel, v("name", r.name); v("symbol", r.symbol); v("target", r.target); v("entry", r.entry);
               v("module", r.module); v("scratchBytes", r.scratchBytes); v("blockThreads", r.blockThreads);
               v("product", r.product);)
FUSEBOX_FIELDS(GridDim, v("extent", r.extent); v("tile", r.tile); v("count", r.count);)
FUSEBOX_FIELDS(Variant, v("maxRows", r.maxRows); v("minKeys", r.minKeys); v("belowKeys", r.belowKeys);
               v("loop", r.loop); v("kernel", r.kernel); v("grid[0]", r.grid[0]); v("grid[1]", r.grid[1]);
               v("grid[2]", r.grid[2]);)
FUSEBOX_FIELDS(Arg, v("kind", r.kind); v("index", r.index);)
FUSEBOX_FIELDS(NodeValue, v("node", r.node); v("arg", r.arg); v("dtype", r.dtype); v("columns", r.columns);
               v("firstByte", r.firstByte);)
FUSEBOX_FIELDS(Launch, v("name", r.name); v("rows", r.rows); v("variants", r.variants); v("args", r.args);
               v("values", r.values); v("barrierBefore", r.barrierBefore); v("device", r.device);
               v("selects", r.selects);)
FUSEBOX_FIELDS(Selection, v("count", r.count); v("buffer", r.buffer);)
FUSEBOX_FIELDS(Instruction, v("kind", r.kind); v("launch", r.launch); v("firstLayer", r.firstLayer);
               v("count", r.count); v("block", r.block);)
FUSEBOX_FIELDS(Cubin, v("chip", r.chip); v("bytes", r.bytes);)
FUSEBOX_FIELDS(Module, v("name", r.name); v("source", r.source); v("options", r.options);
               v("cubins", r.cubins);)
FUSEBOX_FIELDS(Image, v("target", r.target); v("codeBytes", r.codeBytes); v("bytes", r.bytes);)
FUSEBOX_FIELDS(ModelInfo, v("name", r.name); v("family", r.family); v("vocabulary", r.vocabulary);
               v("layers", r.layers); v("maxPosition", r.maxPosition); v("dtype", r.dtype);)
FUSEBOX_FIELDS(Program, v("model", r.model); v("targets", r.targets); v("files", r.files);
               v("weights", r.weights); v("constants", r.constants); v("buffers", r.buffers);
               v("kvCaches", r.kvCaches); v("kernels", r.kernels); v("launches", r.launches);
               v("schedule", r.schedule); v("images", r.images); v("modules", r.modules);
               v("logitsBuffer", r.logitsBuffer); v("selections", r.selections);
               for (auto &bytes : r.arenaUnreused) v("arenaUnreused", bytes);)

#undef FUSEBOX_FIELDS

/// The largest value of each enumeration, for the decoder's range check.
template <typename Enum> inline constexpr unsigned lastValue = 0;
template <> inline constexpr unsigned lastValue<TargetKind> = unsigned(TargetKind::Cuda);
template <> inline constexpr unsigned lastValue<Extent> = unsigned(Extent::Sequences);
template <> inline constexpr unsigned lastValue<RecipeOpKind> = unsigned(RecipeOpKind::AddOne);
template <> inline constexpr unsigned lastValue<ArgKind> = unsigned(ArgKind::KvCache);
template <> inline constexpr unsigned lastValue<InstructionKind> = unsigned(InstructionKind::LoopEnd);

} // namespace fusebox::plan
