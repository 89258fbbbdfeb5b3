// The oracle on a real model of 135 million parameters, against Hugging Face's f32 and bf16 runs: its
// published GGUF, with weights rounded to bf16 as the reference's were.
#include "test/golden/OracleModel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

using namespace fusebox;
using namespace fusebox::test;

namespace {

const std::string gguf = FUSEBOX_TEST_MODELS "/SmolLM2-135M-Instruct.Q4_1.gguf";

class SmolLm2 : public testing::TestWithParam<int> {
protected:
  void SetUp() override {
    ASSERT_TRUE(std::filesystem::exists(gguf))
        << gguf << " is missing; tools/fetch_test_models.sh fetches it";
  }

  oracle::Tensor run(DType dtype, ReferenceRounding rounding, oracle::Mode mode) {
    return OracleModel(gguf, {.dtype = dtype, .rounding = rounding, .weights = WeightTypes::BF16})
        .run(ids, mode);
  }
  /// Our logits of the eight tokens that the reference lists for each position.
  std::vector<double> ofTopTokens(const oracle::Tensor &logits) {
    std::vector<double> out;
    for (size_t i = 0; i < topIds.size(); ++i)
      out.push_back(logits.row(int64_t(i / 8))[size_t(topIds[i])]);
    return out;
  }

  Expected expected{FUSEBOX_TEST_DATA "/golden/smollm2-135m-instruct"};
  std::string prompt = "prompt_" + std::to_string(GetParam());
  std::vector<int32_t> ids = expected.ids(prompt + "_ids"), topIds = expected.ids(prompt + "_top_ids");
  std::vector<double> f32 = expected.reals(prompt + "_top_f32");
};

TEST_P(SmolLm2, F64AgreesWithTheReferenceToF32sAccuracy) {
  oracle::Tensor logits = run(DType::F64, ReferenceRounding::Sdpa, oracle::Mode::F64);
  EXPECT_LT(relativeError(ofTopTokens(logits), f32), 2e-6);
  std::vector<double> sums = expected.reals(prompt + "_lse_f32");
  for (int64_t i = 0; i < logits.rows; ++i) {
    double largest = std::ranges::max(logits.row(i)), sum = 0;
    for (double value : logits.row(i))
      sum += std::exp(value - largest);
    EXPECT_NEAR(largest + std::log(sum), sums[size_t(i)], 1e-4);
  }
}

TEST_P(SmolLm2, Bf16IsAsNearToF32AsTheReferencesBf16) {
  double reference = relativeError(expected.reals(prompt + "_top_bf16"), f32);
  for (ReferenceRounding rounding : {ReferenceRounding::Eager, ReferenceRounding::Sdpa})
    EXPECT_LT(relativeError(ofTopTokens(run(DType::BF16, rounding, oracle::Mode::Rounded)), f32),
              1.2 * reference);
}

INSTANTIATE_TEST_SUITE_P(Prompts, SmolLm2, testing::Range(0, 5));

} // namespace
