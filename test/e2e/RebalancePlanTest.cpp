// Compiled plans of a model and of its rebalanced copy give the same bits.
#include "PlanModel.h"
#include "check/Rebalance.h"
#include "test/unit/check/ModelFolder.h"

#include "support/Float.h"

#include <gtest/gtest.h>

using namespace fusebox;
using namespace fusebox::test;

namespace {

class RebalancedPlan : public testing::Test {
protected:
  TemporaryFolder folder;

  /// Logits of a few prompts, prefilled and then continued one token at a time.
  std::vector<float> logits(const std::string &model, DType dtype) {
    auto plan = compile(model, {.dtype = dtype});
    auto session = plan ? open(*plan) : nullptr;
    if (!session)
      return {};
    const int32_t ids[] = {1, 17, 45, 203, 9, 88, 301, 2, 5, 5, 250, 31};
    std::vector<float> all = step(*session, std::span(ids).first(8));
    for (size_t i = 8; i < std::size(ids); ++i) {
      std::vector<float> next = step(*session, std::span(ids).subspan(i, 1));
      all.insert(all.end(), next.begin(), next.end());
    }
    return all;
  }

  void expectSameBits(const std::string &model, std::initializer_list<DType> dtypes = {DType::BF16}) {
    auto result = rebalanceModel(model, folder / "out");
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_GT(result->balance.moved(), 0);
    for (DType dtype : dtypes) {
      std::vector<float> before = logits(model, dtype), after = logits(folder / "out", dtype);
      ASSERT_FALSE(before.empty());
      EXPECT_EQ(before, after) << dtypeName(dtype);
    }
  }
};

TEST_F(RebalancedPlan, HasTheSameBitsWithNorms) { expectSameBits(golden("qwen3-extreme-k")); }

TEST_F(RebalancedPlan, HasTheSameBitsWithBiasesAndSharedKeyHeads) {
  writeQwen2(folder / "model", 500);
  expectSameBits(folder / "model", {DType::BF16, DType::F32});
}

TEST_F(RebalancedPlan, HasTheSameBitsWithInterleavedRope) {
  writeModel("ernie4_5", folder / "model",
             {{"model.layers.0.self_attn.k_proj.weight", [](std::vector<uint16_t> &weights) {
                 for (size_t i = 0; i < 128; ++i)
                   weights[i] = f32ToBf16(64 * bf16ToF32(weights[i]));
               }}});
  expectSameBits(folder / "model");
}

} // namespace
