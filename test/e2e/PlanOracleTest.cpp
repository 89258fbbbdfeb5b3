// Compiled plans against the f64 oracle where no reference output exists: long contexts, full-size shapes.
#include "compiler/Compile.h"
#include "runtime/session/Sequence.h"
#include "test/golden/OracleModel.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <unistd.h>

using namespace fusebox;
using namespace fusebox::test;
namespace fs = std::filesystem;

namespace {

/// Tokens that repeat nothing for long.
std::vector<int32_t> someTokens(size_t count, uint32_t vocabulary) {
  std::vector<int32_t> tokens;
  uint32_t state = 1;
  for (size_t i = 0; i < count; ++i) {
    state = state * 1664525 + 1013904223;
    tokens.push_back(int32_t((state >> 8) % vocabulary));
  }
  return tokens;
}

/// Logits of all positions from a bf16 plan, run in chunks.
std::vector<double> planLogits(const std::string &model, const std::vector<int32_t> &tokens) {
  CompileOptions options;
  options.dtype = DType::BF16;
  Result<CompiledPlan> plan = compileModel(model, options);
  if (!plan)
    return ADD_FAILURE() << plan.error().message, std::vector<double>();
  Result<plan::PlanReader> reader = plan::PlanReader::fromBytes(plan->writer.encode(), "test.plan");
  SessionOptions open;
  open.contextTokens = uint32_t(tokens.size());
  Result<std::unique_ptr<Session>> session = Session::open(*reader, open);
  if (!session)
    return ADD_FAILURE() << session.error().message, std::vector<double>();
  std::vector<double> all;
  Result<void> done =
      Sequence(**session).appendAll(tokens, [&](size_t, const Logits &logits) -> Result<void> {
        all.insert(all.end(), logits.values, logits.values + size_t(logits.rows) * logits.vocabulary);
        return {};
      });
  if (!done)
    ADD_FAILURE() << done.error().message;
  return all;
}

/// The plan's error to the f64 oracle is at most 1.2 × that of the reference's rounding points in bf16.
void expectAsNearAsTheReference(const std::string &model, size_t tokenCount, uint32_t vocabulary) {
  std::vector<int32_t> tokens = someTokens(tokenCount, vocabulary);
  ImportOptions exactOptions, eagerOptions;
  exactOptions.dtype = DType::F64;
  eagerOptions.dtype = DType::BF16;
  exactOptions.rounding = eagerOptions.rounding = ReferenceRounding::Eager;
  std::vector<double> exact = OracleModel(model, exactOptions).run(tokens, oracle::Mode::F64).values;
  std::vector<double> eager = OracleModel(model, eagerOptions).run(tokens, oracle::Mode::Rounded).values;
  std::vector<double> ours = planLogits(model, tokens);
  ASSERT_EQ(ours.size(), exact.size());
  double reference = relativeError(eager, exact), error = relativeError(ours, exact);
  printf("%s, %zu tokens: %.4f, reference's rounding %.4f\n", model.c_str(), tokenCount, error, reference);
  EXPECT_LE(error, 1.2 * reference);
}

TEST(PlanOracle, LongContextsAreAsNearToExactAsTheReference) {
  std::string model = testing::TempDir() + "fusebox-long-context-" + std::to_string(getpid());
  fs::copy(FUSEBOX_TEST_DATA "/golden/llama", model);
  std::stringstream text;
  text << std::ifstream(model + "/config.json").rdbuf();
  std::string config = text.str(), key = "\"max_position_embeddings\": ";
  size_t at = config.find(key);
  ASSERT_NE(at, config.npos);
  config.replace(at, config.find(',', at) - at, key + "8192");
  fs::remove(model + "/config.json");
  std::ofstream(model + "/config.json") << config;
  expectAsNearAsTheReference(model, getenv("FUSEBOX_LONG") ? 8000 : 600, 384);
  fs::remove_all(model);
}

/// Folders named in FUSEBOX_FULL_SIZE_MODELS, separated by colons: tools/make_model.py --layers 2 makes them.
std::vector<std::string> fullSizeModels() {
  std::vector<std::string> models;
  std::stringstream list(getenv("FUSEBOX_FULL_SIZE_MODELS") ? getenv("FUSEBOX_FULL_SIZE_MODELS") : "");
  for (std::string model; std::getline(list, model, ':');)
    models.push_back(model);
  return models;
}

class FullSize : public testing::TestWithParam<std::string> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(FullSize);

TEST_P(FullSize, IsAsNearToExactAsTheReference) { expectAsNearAsTheReference(GetParam(), 24, 30000); }

INSTANTIATE_TEST_SUITE_P(, FullSize, testing::ValuesIn(fullSizeModels()));

} // namespace
