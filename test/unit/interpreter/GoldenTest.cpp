// The oracle against Hugging Face transformers, on the tiny models of test/data/golden.
#include "test/golden/OracleModel.h"

#include <gtest/gtest.h>

#include <algorithm>

using namespace fusebox;
using namespace fusebox::test;

namespace {

class Golden : public testing::TestWithParam<const char *> {
protected:
  std::string folder = std::string(FUSEBOX_TEST_DATA "/golden/") + GetParam();
  Expected expected{folder};
  std::vector<int32_t> ids = expected.ids("input_ids");
  std::vector<double> exact = expected.reals("logits_f64");
};

TEST_P(Golden, F64IsNearerThanHalfTheErrorOfF32) {
  OracleModel model(folder, {.dtype = DType::F64, .rounding = ReferenceRounding::Eager});
  double reference = relativeError(expected.reals("logits_f32"), exact);
  double ours = relativeError(model.run(ids, oracle::Mode::F64).values, exact);
  RecordProperty("error", std::to_string(ours));
  EXPECT_LE(ours, 0.5 * reference);
}

TEST_P(Golden, EagerBf16RoundsWhereTheReferenceDoes) {
  OracleModel model(folder, {.dtype = DType::BF16, .rounding = ReferenceRounding::Eager});
  std::vector<double> rounded = expected.reals("logits_bf16");
  double reference = relativeError(rounded, exact);
  double ours = relativeError(model.run(ids, oracle::Mode::Rounded).values, rounded);
  RecordProperty("error", std::to_string(ours));
  EXPECT_LE(ours, 0.25 * reference);
}

TEST_P(Golden, F32IsNoFurtherFromF64ThanTheReference) {
  OracleModel model(folder, {.dtype = DType::F32, .rounding = ReferenceRounding::Eager});
  double reference = relativeError(expected.reals("logits_f32"), exact);
  EXPECT_LE(relativeError(model.run(ids, oracle::Mode::Rounded).values, exact), reference);
}

TEST_P(Golden, GreedyContinuationIsTheReferences) {
  OracleModel model(folder, {.dtype = DType::F32});
  oracle::Interpreter sequence(model.model(), model.weights, oracle::Mode::Rounded);
  std::vector<int32_t> continuation, tokens = ids;
  for (int i = 0; i < 24; ++i) {
    std::vector<int32_t> last = {int32_t(tokens.size()) - 1};
    auto logits = sequence.step(tokens, last);
    ASSERT_TRUE(logits);
    tokens = {int32_t(std::ranges::max_element(logits->values) - logits->values.begin())};
    continuation.push_back(tokens.front());
  }
  EXPECT_EQ(continuation, expected.ids("greedy_f32"));
}

INSTANTIATE_TEST_SUITE_P(, Golden, testing::ValuesIn(goldenNames), [](const auto &info) {
  std::string name = info.param;
  std::ranges::replace(name, '-', '_');
  return name;
});

} // namespace
