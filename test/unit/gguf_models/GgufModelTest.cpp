// A model means the same as a folder and as a GGUF: from the files' bytes to logits, by the oracle.
#include "test/golden/OracleModel.h"
#include "test/unit/frontends/TestFiles.h"
#include "test/unit/gguf_models/GoldenGguf.h"

#include <gtest/gtest.h>

using namespace fusebox;
using namespace fusebox::test;

namespace {

const std::string goldens = FUSEBOX_TEST_DATA "/golden/";

std::vector<double> logits(const std::string &path, const ImportOptions &options, oracle::Mode mode) {
  std::vector<int32_t> ids = {1, 17, 250, 3, 99, 42, 383, 8};
  return OracleModel(path, options).run(ids, mode).values;
}

class FolderAndGguf : public testing::TestWithParam<const char *> {};

TEST_P(FolderAndGguf, GiveTheSameLogitsBitForBit) {
  TemporaryFolder folder;
  std::string gguf = folder.write("m.gguf", ggufOfGolden(goldens + GetParam()));
  ImportOptions options{.dtype = DType::BF16};
  EXPECT_EQ(logits(gguf, options, oracle::Mode::Rounded),
            logits(goldens + GetParam(), options, oracle::Mode::Rounded));
}

INSTANTIATE_TEST_SUITE_P(, FolderAndGguf, testing::Values("llama", "qwen3", "ernie4_5"));

TEST(GgufModel, TiesItsEmbeddingWhereItHasNoOutput) {
  TemporaryFolder folder;
  std::string gguf = folder.write("m.gguf", ggufOfGolden(goldens + "llama-tied"));
  ImportOptions options{.dtype = DType::BF16};
  EXPECT_EQ(logits(gguf, options, oracle::Mode::Rounded),
            logits(goldens + "llama-tied", options, oracle::Mode::Rounded));
}

TEST(GgufModel, ScalesRopeByItsFrequencyFactors) {
  // The factors are rounded to f32, the folder's frequencies are not: angles differ by some 1e-7 of
  // themselves.
  TemporaryFolder folder;
  std::string gguf = folder.write("m.gguf", ggufOfGolden(goldens + "llama31-rope"));
  ImportOptions options{.dtype = DType::F64};
  std::vector<double> ours = logits(gguf, options, oracle::Mode::F64);
  EXPECT_LT(relativeError(ours, logits(goldens + "llama31-rope", options, oracle::Mode::F64)), 1e-5);
  EXPECT_GT(relativeError(ours, logits(goldens + "llama", options, oracle::Mode::F64)), 0.1);
}

class BlockType : public testing::TestWithParam<DType> {};

TEST_P(BlockType, MeansTheValuesItsBlocksHold) {
  TemporaryFolder folder;
  ImportOptions options{.dtype = DType::F64};
  std::string blocks = folder.write("blocks.gguf", ggufOfGolden(goldens + "llama", {.matrices = GetParam()}));
  std::string wide =
      folder.write("wide.gguf", ggufOfGolden(goldens + "llama", {.matrices = GetParam(), .widened = true}));
  std::vector<double> values = logits(wide, options, oracle::Mode::F64);
  EXPECT_EQ(logits(blocks, options, oracle::Mode::F64), values);
  double coarseness = relativeError(values, logits(goldens + "llama", options, oracle::Mode::F64));
  EXPECT_LT(coarseness, 0.5) << "the test's own rounding to blocks is sound";
  EXPECT_GT(coarseness, 0);
}

INSTANTIATE_TEST_SUITE_P(, BlockType, testing::Values(DType::Q8_0, DType::Q4_0, DType::Q4_1),
                         [](const auto &info) { return std::string(dtypeName(info.param)); });

TEST(GgufModel, WidensTypesWithoutKernelsToBf16) {
  TemporaryFolder folder;
  ImportOptions options{.dtype = DType::BF16};
  for (DType type : {DType::Q5_0, DType::Q5_1}) {
    std::string blocks = folder.write("blocks.gguf", ggufOfGolden(goldens + "qwen3", {.matrices = type}));
    std::string wide =
        folder.write("wide.gguf", ggufOfGolden(goldens + "qwen3", {.matrices = type, .widened = true}));
    ImportOptions rounded{.dtype = DType::BF16, .weights = WeightTypes::BF16};
    EXPECT_EQ(logits(blocks, options, oracle::Mode::Rounded), logits(wide, rounded, oracle::Mode::Rounded))
        << dtypeName(type);
  }
}

} // namespace
