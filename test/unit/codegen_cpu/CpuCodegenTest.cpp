// Specialised kernels: every kernel compiles for every target into an image without imports; shapes are
// constants.
#include "codegen/cpu/CpuCodegen.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

using namespace fusebox;
using namespace fusebox::cpu;
using testing::HasSubstr;

namespace {

constexpr int64_t bf16 = int64_t(DType::BF16), f32 = int64_t(DType::F32);

void add(std::vector<KernelRequest> &requests, const std::string &kernel, const Fields &fields,
         plan::Extent rows = plan::Extent::Tokens) {
  auto variants = kernelVariants(kernel, fields, rows);
  ASSERT_TRUE(variants) << variants.error().message;
  for (const KernelVariant &variant : *variants)
    requests.push_back({kernel + "." + std::to_string(requests.size()), kernel, variant.fields});
}

Fields linear(int64_t in, int64_t out, int64_t weight, int64_t type, int64_t outType, int64_t bias = 0) {
  return {{"in", in},           {"out", out},      {"weightType", weight}, {"inType", type},
          {"outType", outType}, {"hasBias", bias}, {"biasType", bf16},     {"roundBeforeF32", int64_t(0)}};
}

/// The kernels of SmolLM2-135M, in one activation type.
std::vector<KernelRequest> smollm2(int64_t type, int64_t weight) {
  std::vector<KernelRequest> requests;
  add(requests, "embed",
      {{"columns", int64_t(576)}, {"tableType", weight}, {"outType", type}, {"scale", 1.0}});
  add(requests, "select_rows", {{"columns", int64_t(576)}, {"type", type}});
  for (plan::Extent rows : {plan::Extent::Tokens, plan::Extent::LogitsRows})
    add(requests, "norm",
        {{"columns", int64_t(576)},
         {"groups", int64_t(1)},
         {"type", type},
         {"gainType", weight == bf16 ? bf16 : f32},
         {"roundNormalised", int64_t(1)},
         {"onePlus", int64_t(0)},
         {"eps", 1e-5}},
        rows);
  for (auto [in, out] : {std::pair{576, 576}, {576, 192}, {576, 1536}, {1536, 576}})
    add(requests, "linear", linear(in, out, weight, type, type));
  add(requests, "linear", linear(576, 49152, weight, type, f32), plan::Extent::LogitsRows);
  add(requests, "rope_angles", {{"half", int64_t(32)}, {"outType", type}, {"attentionFactor", 1.0}});
  for (int64_t heads : {9, 3})
    add(requests, "rope",
        {{"heads", heads},
         {"headDim", int64_t(64)},
         {"rotaryDim", int64_t(64)},
         {"interleaved", int64_t(0)},
         {"type", type},
         {"anglesType", type},
         {"roundProducts", int64_t(1)}});
  add(requests, "kv_write", {{"kvHeads", int64_t(3)}, {"headDim", int64_t(64)}, {"type", type}});
  add(requests, "attention",
      {{"heads", int64_t(9)},
       {"kvHeads", int64_t(3)},
       {"headDim", int64_t(64)},
       {"type", type},
       {"scale", 0.125},
       {"window", int64_t(0)},
       {"softcap", 0.0},
       {"rounding", int64_t(0)}});
  add(requests, "glu",
      {{"columns", int64_t(1536)},
       {"activation", int64_t(0)},
       {"type", type},
       {"roundActivation", int64_t(1)}});
  add(requests, "add", {{"columns", int64_t(576)}, {"type", type}});
  add(requests, "cast", {{"columns", int64_t(576)}, {"inType", type}, {"outType", f32}});
  add(requests, "scale", {{"columns", int64_t(576)}, {"type", type}, {"factor", 0.5}});
  add(requests, "softcap", {{"columns", int64_t(576)}, {"type", type}, {"cap", 30.0}});
  return requests;
}

class EveryTarget : public testing::TestWithParam<const char *> {};

} // namespace

TEST_P(EveryTarget, CompilesAllKernelsOfAModel) {
  CpuTarget target = *parseCpuTarget(GetParam());
  std::vector<std::pair<int64_t, int64_t>> types = {{bf16, bf16}};
  if (std::getenv("FUSEBOX_LONG"))
    types = {
        {bf16, bf16}, {f32, bf16}, {f32, f32}, {bf16, int64_t(DType::Q4_1)}, {bf16, int64_t(DType::Q8_0)}};
  for (auto [type, weight] : types) {
    std::vector<KernelRequest> requests = smollm2(type, weight);
    auto image = compileCpuKernels(requests, target);
    ASSERT_TRUE(image) << image.error().message;
    ASSERT_EQ(image->kernels.size(), requests.size());
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_LT(image->kernels[i].entry, image->image.codeBytes);
      EXPECT_GT(image->kernels[i].bytes, 0u);
      EXPECT_EQ(image->kernels[i].entry % 16, 0u) << requests[i].name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, EveryTarget,
                         testing::Values("x86-64-v3", "x86-64-v4", "x86-64-v4+avx512bf16"));

namespace {

KernelRequest small(const std::string &kernel, const Fields &fields) {
  return {"small", kernel, (*kernelVariants(kernel, fields, plan::Extent::Tokens))[0].fields};
}
const Fields addFields = {{"columns", int64_t(577)}, {"type", f32}};

} // namespace

TEST(CpuCodegen, IsTheSameForAnyNumberOfThreads) {
  CpuTarget target = *parseCpuTarget("x86-64-v4");
  std::vector<KernelRequest> requests;
  add(requests, "add", addFields);
  add(requests, "scale", {{"columns", int64_t(576)}, {"type", bf16}, {"factor", 0.5}});
  add(requests, "kv_write", {{"kvHeads", int64_t(3)}, {"headDim", int64_t(64)}, {"type", bf16}});
  add(requests, "linear", linear(64, 48, bf16, bf16, f32));
  auto one = compileCpuKernels(requests, target, Specialise::All, 1);
  auto three = compileCpuKernels(requests, target, Specialise::All, 3);
  ASSERT_TRUE(one && three);
  EXPECT_EQ(one->image.bytes, three->image.bytes);
}

TEST(CpuCodegen, MakesShapesConstant) {
  CpuTarget target = *parseCpuTarget("x86-64-v3");
  auto text = kernelAssembly(small("add", addFields), target);
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_THAT(*text, HasSubstr("small:"));
  EXPECT_THAT(*text, HasSubstr("$577")); // the row length
  EXPECT_THAT(*text, testing::Not(HasSubstr("zmm")));
  KernelRequest request = small("add", addFields);
  auto special = compileCpuKernels({&request, 1}, target, Specialise::All);
  auto general = compileCpuKernels({&request, 1}, target, Specialise::TypesOnly);
  ASSERT_TRUE(special && general);
  EXPECT_LT(special->kernels[0].bytes, general->kernels[0].bytes);
}

TEST(CpuCodegen, NamesWhatIsWrongWithARequest) {
  CpuTarget target = *parseCpuTarget("x86-64-v3");
  KernelRequest unknown = {"x", "convolution", {}};
  auto image = compileCpuKernels({&unknown, 1}, target);
  ASSERT_FALSE(image);
  EXPECT_THAT(image.error().message, HasSubstr("convolution"));
  KernelRequest incomplete = small("add", addFields);
  incomplete.constants.pop_back();
  image = compileCpuKernels({&incomplete, 1}, target);
  ASSERT_FALSE(image);
  EXPECT_THAT(image.error().message, HasSubstr("rowTile is missing"));
  auto cpu = parseCpuTarget("pentium");
  ASSERT_FALSE(cpu);
  EXPECT_EQ(cpu.error().kind, ErrorKind::Usage);
  EXPECT_THAT(cpu.error().message, HasSubstr("x86-64-v3"));
}
