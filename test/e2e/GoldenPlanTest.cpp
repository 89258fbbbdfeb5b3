// Compiled plans against Hugging Face transformers, on the tiny models of test/data/golden.
#include "PlanModel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

using namespace fusebox;
using namespace fusebox::test;

namespace {

class GoldenPlan : public testing::TestWithParam<const char *> {
protected:
  std::string folder = golden(GetParam());
  Expected expected{folder};
  std::vector<int32_t> ids = expected.ids("input_ids");
};

std::vector<float> narrowed(const std::vector<double> &values) { return {values.begin(), values.end()}; }

TEST_P(GoldenPlan, Bf16LogitsAreAsNearToExactAsTheReference) {
  auto session = open(compiledGolden(GetParam()));
  ASSERT_TRUE(session);
  std::vector<float> ours = step(*session, ids);
  std::vector<double> exact = expected.reals("logits_f64");
  ASSERT_EQ(ours.size(), exact.size());
  double reference = relativeError(narrowed(expected.reals("logits_bf16")), exact);
  double error = relativeError(ours, exact);
  EXPECT_LE(error, 1.2 * reference);
  printf("%s: %.4f, reference in bf16 %.4f\n", GetParam(), error, reference);
}

TEST_P(GoldenPlan, F32GreedyContinuationIsTheReferences) {
  auto session = open(compiledGolden(GetParam(), DType::F32));
  ASSERT_TRUE(session);
  std::vector<int32_t> wanted = expected.ids("greedy_f32"), next = ids, greedy;
  size_t vocabulary = session->model().vocabulary;
  while (greedy.size() < wanted.size()) {
    std::vector<float> logits = step(*session, next);
    ASSERT_FALSE(logits.empty());
    auto last = logits.end() - ptrdiff_t(vocabulary);
    next = {int32_t(std::max_element(last, logits.end()) - last)};
    greedy.push_back(next.front());
  }
  EXPECT_EQ(greedy, wanted);
}

INSTANTIATE_TEST_SUITE_P(, GoldenPlan, testing::ValuesIn(goldenNames), [](const auto &info) {
  std::string name = info.param;
  std::ranges::replace(name, '-', '_');
  return name;
});

} // namespace
