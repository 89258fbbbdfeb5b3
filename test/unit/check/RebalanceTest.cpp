// fusebox rebalance on folders: what is written, and that the oracle computes the same bits.
#include "check/Rebalance.h"
#include "check/CheckModel.h"
#include "support/Float.h"
#include "test/golden/OracleModel.h"
#include "test/unit/check/ModelFolder.h"

#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace fusebox;
using namespace fusebox::test;
namespace fs = std::filesystem;

namespace {

std::string golden(const std::string &name) { return FUSEBOX_TEST_DATA "/golden/" + name; }

class Rebalance : public testing::Test {
protected:
  TemporaryFolder folder;
};

std::vector<double> logits(const std::string &model) {
  OracleModel oracle(model, {.dtype = DType::BF16});
  std::vector<int32_t> ids = {1, 17, 45, 203, 9, 88, 301, 2};
  return oracle.run(ids, oracle::Mode::Rounded).values;
}

TEST_F(Rebalance, KeepsEveryBitAndCertificateWithNorms) {
  auto result = rebalanceModel(golden("qwen3-extreme-k"), folder / "out");
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_GT(result->balance.moved(), 0);
  EXPECT_EQ(result->note, "");
  EXPECT_GT(result->after.score, result->before.score + 0.3);
  EXPECT_EQ(logits(folder / "out"), logits(golden("qwen3-extreme-k")));

  auto before = checkModel(golden("qwen3-extreme-k"), {}), after = checkModel(folder / "out", {});
  ASSERT_TRUE(before && after);
  EXPECT_EQ(after->analysis.heuristic.score, result->after.score);
  ASSERT_EQ(before->analysis.verdicts.size(), after->analysis.verdicts.size());
  for (size_t i = 0; i < before->analysis.verdicts.size(); ++i) {
    const Verdict &a = before->analysis.verdicts[i], &b = after->analysis.verdicts[i];
    EXPECT_EQ(a.range, b.range) << a.node;
    EXPECT_EQ(a.deviationExpected, b.deviationExpected) << a.node;
    EXPECT_EQ(a.legal, b.legal) << a.node;
  }
}

TEST_F(Rebalance, KeepsEveryBitWithoutNorms) {
  for (const char *name : {"llama", "ernie4_5"}) {
    // One key row that is much larger than its query rows.
    writeModel(name, folder / name,
               {{"model.layers.0.self_attn.k_proj.weight", [](std::vector<uint16_t> &weights) {
                   for (size_t i = 0; i < 128; ++i)
                     weights[i] = f32ToBf16(64 * bf16ToF32(weights[i]));
                 }}});
    std::string out = folder / (std::string(name) + "-out");
    auto result = rebalanceModel(folder / name, out);
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_GT(result->balance.moved(), 0);
    EXPECT_EQ(logits(out), logits(folder / name));
  }
}

TEST_F(Rebalance, KeepsEveryBitAndCertificateWithBiases) {
  writeQwen2(folder / "model", 500);
  auto result = rebalanceModel(folder / "model", folder / "out");
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_GT(result->balance.moved(), 0);
  EXPECT_GT(result->balance.unevenBefore, 10);
  EXPECT_LE(result->balance.unevenAfter, 2) << "what powers of two leave";
  EXPECT_EQ(logits(folder / "out"), logits(folder / "model"));

  auto before = checkModel(folder / "model", {}), after = checkModel(folder / "out", {});
  ASSERT_TRUE(before && after);
  EXPECT_FALSE(before->guidance.empty());
  EXPECT_THAT(before->guidance[0], testing::HasSubstr("rows of W_q and W_k of one pair differ by up to"));
  ASSERT_EQ(before->analysis.verdicts.size(), after->analysis.verdicts.size());
  for (size_t i = 0; i < before->analysis.verdicts.size(); ++i) {
    const Verdict &a = before->analysis.verdicts[i], &b = after->analysis.verdicts[i];
    EXPECT_EQ(a.legal, b.legal) << a.node;
    if (a.node != node::scores)
      continue; // q and k themselves change by powers of two, and what bounds them
    EXPECT_EQ(a.range, b.range);
    EXPECT_EQ(a.deviationExpected, b.deviationExpected);
  }
  // What is level already stays.
  auto again = rebalanceModel(folder / "out", folder / "again");
  ASSERT_TRUE(again);
  EXPECT_EQ(again->balance.moved(), 0);
}

TEST_F(Rebalance, RefusesToOverwriteAModel) {
  auto result = rebalanceModel(golden("qwen3"), folder / "out");
  ASSERT_TRUE(result);
  EXPECT_TRUE(fs::exists(folder / "out/config.json"));
  auto again = rebalanceModel(golden("qwen3"), folder / "out");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, ErrorKind::Usage);
}

} // namespace
