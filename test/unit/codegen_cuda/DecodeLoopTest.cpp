// decode_loop, a kernel that is made of others' shapes: which parts it takes, and how it is cut.
#include "test/device/ModelShapes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

using namespace fusebox;
using gputest::ModelShape;
using testing::HasSubstr;

namespace {

const cuda::Chip &hopper = *cuda::findChip("sm_90a");
const ModelShape &qwen3 = gputest::modelShapes[0];
const ModelShape &tinyLlama = gputest::modelShapes[1];

std::vector<cuda::KernelRequest> partsOf(const ModelShape &m) {
  return gputest::layerKernels(m, hopper.multiprocessors);
}
cuda::KernelRequest requestFor(const ModelShape &m) { return gputest::decodeLoop(m, partsOf(m)); }

std::optional<cuda::Shape> shapeFor(const std::vector<cuda::KernelRequest> &parts, const ModelShape &m,
                                    const cuda::Chip &chip = hopper) {
  cuda::Shape shape = gputest::decodeLoop(m, parts, chip).shape;
  return shape.empty() ? std::nullopt : std::optional(shape);
}

/// What is said of a request that is refused.
std::string refusal(const cuda::KernelRequest &request) {
  auto source = cuda::kernelSource(request);
  return source ? "nothing: it is taken" : source.error().message;
}

} // namespace

TEST(DecodeLoop, ItsSourceHasEachPart) {
  auto source = cuda::kernelSource(requestFor(qwen3));
  ASSERT_TRUE(source) << source.error().message;
  for (int part = 0; part < 6; ++part)
    EXPECT_THAT(*source, HasSubstr("struct Part" + std::to_string(part) + " {"));
}

TEST(DecodeLoop, WrongPartsAreRefused) {
  const char *words = "CUDA kernel decode_loop: does the work of other kernels than its parts";
  cuda::KernelRequest none = requestFor(qwen3);
  none.parts.clear();
  EXPECT_THAT(refusal(none), HasSubstr(words));
  cuda::KernelRequest fewer = requestFor(qwen3);
  fewer.parts.pop_back();
  EXPECT_THAT(refusal(fewer), HasSubstr(words));
  cuda::KernelRequest more = requestFor(qwen3);
  more.parts.push_back(more.parts.back());
  EXPECT_THAT(refusal(more), HasSubstr(words));
  cuda::KernelRequest other = requestFor(qwen3);
  std::swap(other.parts[1], other.parts[2]);
  EXPECT_THAT(refusal(other), HasSubstr(words));
  // A kernel that is not made of others takes no parts.
  cuda::KernelRequest product = requestFor(qwen3).parts[0];
  product.parts = {requestFor(qwen3).parts[1]};
  EXPECT_THAT(refusal(product), HasSubstr("CUDA kernel linear_skinny: does the work of other kernels"));
}

TEST(DecodeLoop, FaultsOfPartsAreNamed) {
  cuda::KernelRequest noBody = requestFor(qwen3);
  noBody.parts[3].body.clear();
  EXPECT_THAT(refusal(noBody), HasSubstr("CUDA kernel decode_loop: linear_skinny: needs a pointwise body"));
  cuda::KernelRequest odd = requestFor(qwen3);
  odd.parts[2].shape["headDim"] = 96;
  EXPECT_THAT(refusal(odd),
              HasSubstr("CUDA kernel decode_loop: attention_decode: headDim must be 64 or 128"));
}

TEST(DecodeLoop, ItsNameDependsOnItsParts) {
  const cuda::KernelRequest request = requestFor(qwen3);
  cuda::KernelRequest shape = request, body = request, order = request;
  shape.parts[2].shape["scale"] = 0.5;
  body.parts[5].body = gputest::roundedSum();
  std::swap(order.parts[3], order.parts[5]);
  std::set<std::string> names;
  for (const cuda::KernelRequest &each : {request, shape, body, order})
    names.insert(cuda::kernelName(each));
  EXPECT_EQ(names.size(), 4u);
  EXPECT_EQ(cuda::kernelName(requestFor(qwen3)), cuda::kernelName(request));
  EXPECT_THAT(cuda::kernelName(request), testing::StartsWith("decode_loop_"));
}

TEST(DecodeLoop, ItFillsAHopper) {
  const cuda::KernelEntry &kernel = *cuda::findKernel("decode_loop");
  for (const ModelShape &m : gputest::modelShapes) {
    auto shape = shapeFor(partsOf(m), m);
    ASSERT_TRUE(shape) << m.name;
    plan::GridDim grid[3] = {};
    kernel.grid(*shape, hopper.multiprocessors, grid);
    EXPECT_EQ(grid[0].extent, plan::Extent::Fixed) << m.name;
    EXPECT_EQ(grid[0].count, 132u) << m.name;
    EXPECT_EQ(cuda::shapeInteger(*shape, "layers"), m.layers) << m.name;
    // One block a multiprocessor; 227 KB are what a block can have.
    EXPECT_LE(kernel.sharedBytes(*shape), 227u << 10) << m.name;
    EXPECT_GE(cuda::shapeInteger(*shape, "slots"), 11) << m.name;
  }
}

TEST(DecodeLoop, LargeLayersHaveMoreInFlight) {
  EXPECT_EQ(cuda::shapeInteger(*shapeFor(partsOf(qwen3), qwen3), "inFlight"), 2);
  EXPECT_EQ(cuda::shapeInteger(*shapeFor(partsOf(tinyLlama), tinyLlama), "inFlight"), 3);
}

/// Each differs in one thing from a model that it takes.
TEST(DecodeLoop, OtherShapesAreLeftToOtherKernels) {
  for (const char *chip : {"sm_80", "sm_89", "sm_100"})
    EXPECT_FALSE(shapeFor(partsOf(qwen3), qwen3, *cuda::findChip(chip))) << chip;
  ModelShape narrow = qwen3, odd = qwen3;
  narrow.headDim = 96;
  EXPECT_FALSE(shapeFor(partsOf(narrow), narrow));
  odd.intermediate += 4;
  EXPECT_FALSE(shapeFor(partsOf(odd), odd));
  auto unmerged = partsOf(qwen3);
  unmerged.pop_back();
  EXPECT_FALSE(shapeFor(unmerged, qwen3));
  auto oddKeys = partsOf(qwen3);
  oddKeys[0].shape["part1"] += 4;
  EXPECT_FALSE(shapeFor(oddKeys, qwen3));
  auto partlyTurned = partsOf(qwen3);
  partlyTurned[1].shape["rotaryDim"] = 64;
  EXPECT_FALSE(shapeFor(partlyTurned, qwen3));
  auto wideGain = partsOf(qwen3);
  wideGain[0].shape["gainType"] = 1;
  EXPECT_FALSE(shapeFor(wideGain, qwen3));
  auto otherModel = partsOf(qwen3);
  otherModel[5] = partsOf(tinyLlama)[5];
  EXPECT_FALSE(shapeFor(otherModel, qwen3));
}
