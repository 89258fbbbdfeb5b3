// Shapes of published models, and the kernels of their decode step.
#pragma once

#include "test/device/Case.h"
#include "test/device/Chain.h"

#include "kernels/cuda/Variants.h"

#include <algorithm>
#include <cmath>

namespace fusebox::gputest {

struct ModelShape {
  const char *name;
  int layers, hidden, heads, kvHeads, headDim, intermediate, vocabulary;
  bool headNorm, interleaved;
};

inline constexpr ModelShape modelShapes[] = {
    {"Qwen3-0.6B", 28, 1024, 16, 8, 128, 3072, 151936, true, false},
    {"TinyLlama-1.1B", 22, 2048, 32, 4, 64, 5632, 32000, false, false},
    {"ERNIE-4.5-0.3B", 18, 1024, 16, 2, 128, 3072, 103424, false, true},
};

/// Bytes of the weights that a decode step reads.
inline double weightBytes(const ModelShape &m) {
  double attention = double(m.hidden) * (2 * m.heads + 2 * m.kvHeads) * m.headDim;
  return 2 * (m.layers * (attention + 3.0 * m.hidden * m.intermediate) + double(m.vocabulary) * m.hidden);
}

/// Random small values everywhere: bf16 of about ±0.03.
void fillRandom(Gpu &gpu, const Memory &memory);

inline cuda::KernelRequest skinny(const ModelShape &m, cuda::Shape shape, int rows, unsigned multiprocessors,
                                  std::string body = roundedSum()) {
  cuda::Shape common = {
      {"columns", m.hidden}, {"type", 3}, {"gainType", 3}, {"roundNormalised", 1}, {"eps", 1e-6}};
  shape.merge(common);
  cuda::chooseSkinnyTiles(shape, unsigned(rows), multiprocessors);
  return {"linear_skinny", shape, std::move(body)};
}
inline cuda::KernelRequest queryKeyValue(const ModelShape &m, int rows, unsigned multiprocessors) {
  return skinny(m,
                {{"in", m.hidden},
                 {"part0", m.heads * m.headDim},
                 {"part1", m.kvHeads * m.headDim},
                 {"part2", m.kvHeads * m.headDim},
                 {"norm", 1}},
                rows, multiprocessors);
}
inline cuda::KernelRequest attentionOutput(const ModelShape &m, int rows, unsigned multiprocessors) {
  return skinny(m, {{"in", m.heads * m.headDim}, {"part0", m.hidden}}, rows, multiprocessors, residualSum());
}
inline cuda::KernelRequest gateUp(const ModelShape &m, int rows, unsigned multiprocessors) {
  return skinny(
      m, {{"in", m.hidden}, {"part0", m.intermediate}, {"part1", m.intermediate}, {"norm", 1}, {"glu", 1}},
      rows, multiprocessors, gatedSums());
}
inline cuda::KernelRequest down(const ModelShape &m, int rows, unsigned multiprocessors) {
  return skinny(m, {{"in", m.intermediate}, {"part0", m.hidden}}, rows, multiprocessors, residualSum());
}
inline cuda::KernelRequest finalNorm(const ModelShape &m) {
  return {"norm",
          {{"columns", m.hidden},
           {"groups", 1},
           {"type", 3},
           {"gainType", 3},
           {"roundNormalised", 1},
           {"eps", 1e-6}}};
}
/// A product of linear_stream or linear_stream_blocks for up to `rows` rows.
inline cuda::KernelRequest streamed(cuda::Shape shape, int rows, std::string body = roundedSum()) {
  const cuda::Chip &chip = *cuda::findChip("sm_90a");
  unsigned most = rows == 1 ? 1 : rows <= 8 ? 8 : 16;
  if (cuda::shapeInteger(shape, "weightType") == 3)
    return {"linear_stream", *cuda::streamShapeFor(std::move(shape), most, chip), std::move(body)};
  return {"linear_stream_blocks", *cuda::streamBlocksShapeFor(std::move(shape), most, chip), std::move(body)};
}
inline cuda::KernelRequest logits(const ModelShape &m, int rows) {
  return streamed({{"in", m.hidden}, {"out", m.vocabulary}, {"weightType", 3}}, rows,
                  roundedSum(/*asF32=*/true));
}
inline cuda::Shape attentionShape(const ModelShape &m) {
  return {{"heads", m.heads},
          {"kvHeads", m.kvHeads},
          {"headDim", m.headDim},
          {"type", 3},
          {"scale", 1 / std::sqrt(m.headDim)}};
}
/// A product of one row that nothing precedes, as select-kernels chooses its kernel.
inline cuda::KernelRequest oneRowProduct(int in, int out, std::string body) {
  cuda::Shape shape = {{"in", in}, {"out", out}, {"inType", 3}, {"outType", 3}, {"weightType", 3}};
  auto variants = cuda::kernelVariants("linear", shape, plan::Extent::Tokens, *cuda::findChip("sm_90a"));
  cuda::KernelRequest kernel = expect(std::move(variants)).front().request;
  kernel.body = std::move(body);
  return kernel;
}
/// Attention of few tokens that see `keys` keys, all together.
inline cuda::KernelRequest decodeAttention(const ModelShape &m, int keys) {
  auto variants =
      cuda::kernelVariants("attention", attentionShape(m), plan::Extent::Tokens, *cuda::findChip("sm_90a"));
  for (const cuda::KernelVariant &variant : expect(std::move(variants)))
    if (variant.minKeys <= unsigned(keys))
      return variant.request;
  fail("no kernel for attention");
}
inline cuda::KernelRequest prepareHeads(const ModelShape &m) {
  return {"prepare_heads",
          {{"heads", m.heads},
           {"kvHeads", m.kvHeads},
           {"headDim", m.headDim},
           {"norm", m.headNorm},
           {"type", 3},
           {"roundNormalised", 1},
           {"gainType", 3},
           {"columns", m.headDim},
           {"groups", 1},
           {"rotaryDim", m.headDim},
           {"interleaved", m.interleaved},
           {"anglesType", m.interleaved ? 1 : 3},
           {"roundProducts", !m.interleaved},
           {"eps", 1e-6}}};
}
/// The kernels of a layer's step of one token, as select-kernels merges its calls.
inline std::vector<cuda::KernelRequest> layerKernels(const ModelShape &m, unsigned multiprocessors) {
  return {queryKeyValue(m, 4, multiprocessors),    prepareHeads(m),
          {"attention_decode", attentionShape(m)}, attentionOutput(m, 4, multiprocessors),
          gateUp(m, 4, multiprocessors),           down(m, 4, multiprocessors)};
}
/// All layers in one launch, whose arguments have decode_loop's order; of an empty shape if the kernel does
/// not take these parts.
inline cuda::KernelRequest decodeLoop(const ModelShape &m, const std::vector<cuda::KernelRequest> &parts,
                                      const cuda::Chip &chip = *cuda::findChip("sm_90a")) {
  std::vector<cuda::Shape> shapes;
  for (const cuda::KernelRequest &part : parts)
    shapes.push_back(part.shape);
  auto shape = cuda::decodeLoopShapeFor(shapes, m.layers, chip);
  if (!shape)
    return {"decode_loop", {}, {}, parts};
  (*shape)["arguments"] = 20;
  for (int i = 0; i < 20; ++i)
    (*shape)["place" + std::to_string(i)] = i;
  return {"decode_loop", *shape, {}, parts};
}
inline cuda::KernelRequest angles(const ModelShape &m) {
  return {"rope_angles",
          {{"half", m.headDim / 2}, {"outType", m.interleaved ? 1 : 3}, {"attentionFactor", 1}}};
}
inline cuda::KernelRequest embedding(const ModelShape &m) {
  return {"embed", {{"columns", m.hidden}, {"tableType", 3}}, roundedSum()};
}
inline cuda::KernelRequest largestGroups(const ModelShape &m) {
  return {"largest_groups", {{"vocabulary", m.vocabulary}}};
}
inline cuda::KernelRequest largest(const ModelShape &m, int count) {
  return {"largest", {{"vocabulary", m.vocabulary}, {"count", count}}};
}

} // namespace fusebox::gputest
