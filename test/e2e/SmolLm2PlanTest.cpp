// A real model of 135 million parameters, compiled from its published GGUF, against Hugging Face's f32 and
// bf16 runs.
#include "PlanModel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

using namespace fusebox;
using namespace fusebox::test;

namespace {

const std::string gguf = FUSEBOX_TEST_MODELS "/SmolLM2-135M-Instruct.Q4_1.gguf";
constexpr int prompts = 5;
/// Where the reference's two best tokens are nearer than this in f32, a run in bf16 may rightly differ.
constexpr double decidedMargin = 1.3;

class SmolLm2Plan : public testing::Test {
protected:
  void SetUp() override {
    ASSERT_TRUE(std::filesystem::exists(gguf))
        << gguf << " is missing; tools/fetch_test_models.sh fetches it";
  }

  Expected expected{golden("smollm2-135m-instruct")};
  std::string prompt(int index, const char *part) { return "prompt_" + std::to_string(index) + part; }

  std::unique_ptr<Session> session(CompileOptions options) {
    SessionOptions open;
    open.contextTokens = 512;
    open.maxLogitsRows = 512;
    auto plan = compile(gguf, options);
    return plan ? test::open(*plan, open) : nullptr;
  }

  static int32_t best(std::span<const float> logits) {
    return int32_t(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }

  /// Feeds the reference's tokens; its choice must be ours wherever it is decided.
  void expectDecidedTokens(Session &session) {
    size_t vocabulary = session.model().vocabulary;
    for (int index = 0; index < prompts; ++index) {
      std::vector<int32_t> ids = expected.ids(prompt(index, "_ids")),
                           greedy = expected.ids(prompt(index, "_greedy_f32"));
      std::vector<double> margins = expected.reals(prompt(index, "_greedy_margin"));
      size_t first = ids.size() - 1;
      ids.insert(ids.end(), greedy.begin(), greedy.end() - 1);
      std::vector<float> logits = step(session, ids);
      ASSERT_FALSE(logits.empty());
      for (size_t i = 0; i < greedy.size(); ++i)
        if (margins[i] > decidedMargin) {
          EXPECT_EQ(best(std::span(logits).subspan((first + i) * vocabulary, vocabulary)), greedy[i])
              << "prompt " << index << ", token " << i << ", margin " << margins[i];
        }
      ASSERT_TRUE(session.truncate(0, 0));
    }
  }

  /// Root mean square of (values − the reference in f32) over the tokens that the reference lists.
  double deviation(std::span<const double> values, std::span<const double> reference) {
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i)
      sum += (values[i] - reference[i]) * (values[i] - reference[i]);
    return std::sqrt(sum / double(values.size()));
  }
};

TEST_F(SmolLm2Plan, F32GreedyContinuationIsTheReferences) {
  auto session = this->session({.dtype = DType::F32, .weights = "bf16"});
  ASSERT_TRUE(session);
  size_t vocabulary = session->model().vocabulary;
  for (int index = 0; index < prompts; ++index) {
    std::vector<int32_t> next = expected.ids(prompt(index, "_ids")),
                         wanted = expected.ids(prompt(index, "_greedy_f32")), ours;
    while (ours.size() < wanted.size()) {
      std::vector<float> logits = step(*session, next);
      ASSERT_FALSE(logits.empty());
      next = {best(std::span(logits).last(vocabulary))};
      ours.push_back(next.front());
    }
    EXPECT_EQ(ours, wanted) << "prompt " << index;
    ASSERT_TRUE(session->truncate(0, 0));
  }
}

TEST_F(SmolLm2Plan, Bf16DecidesAndDeviatesAsTheReferenceDoes) {
  auto session = this->session({.dtype = DType::BF16, .weights = "bf16"});
  ASSERT_TRUE(session);
  expectDecidedTokens(*session);
  size_t vocabulary = session->model().vocabulary;
  std::vector<double> ours, exact, reference;
  for (int index = 0; index < prompts; ++index) {
    std::vector<int32_t> ids = expected.ids(prompt(index, "_ids")),
                         top = expected.ids(prompt(index, "_top_ids"));
    std::vector<double> f32 = expected.reals(prompt(index, "_top_f32")),
                        bf16 = expected.reals(prompt(index, "_top_bf16"));
    exact.insert(exact.end(), f32.begin(), f32.end());
    reference.insert(reference.end(), bf16.begin(), bf16.end());
    std::vector<float> logits = step(*session, ids);
    ASSERT_FALSE(logits.empty());
    for (size_t i = 0; i < top.size(); ++i)
      ours.push_back(logits[i / 8 * vocabulary + size_t(top[i])]);
    ASSERT_TRUE(session->truncate(0, 0));
  }
  printf("rms to f32: %.4f, reference in bf16 %.4f\n", deviation(ours, exact), deviation(reference, exact));
  EXPECT_LE(deviation(ours, exact), 1.2 * deviation(reference, exact));
}

TEST_F(SmolLm2Plan, QuantisedWeightsDecideAsTheReferenceDoes) {
  auto session = this->session({.dtype = DType::BF16});
  ASSERT_TRUE(session);
  expectDecidedTokens(*session);
}

TEST_F(SmolLm2Plan, Int8ActivationsTakeTheirOwnKernels) {
  auto session = this->session({.dtype = DType::BF16, .activationsInt8 = true});
  ASSERT_TRUE(session);
  bool found = std::ranges::any_of(session->program().kernels,
                                   [](const plan::Kernel &kernel) { return kernel.symbol == "linear_int8"; });
  EXPECT_TRUE(found);
  EXPECT_FALSE(step(*session, expected.ids(prompt(0, "_ids"))).empty());
}

} // namespace
