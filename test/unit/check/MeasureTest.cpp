// Verdicts measured on text: what rises, by what budget, and what stays.
#include "check/CheckModel.h"
#include "check/measure/MeasureModel.h"
#include "test/unit/check/ModelFolder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace fusebox;
using namespace fusebox::test;

namespace {

const std::vector<int32_t> ids = {1, 17, 45, 203, 9, 88, 301, 2, 4, 5, 6, 7, 250, 31, 31, 8};

std::string golden(const std::string &name) { return FUSEBOX_TEST_DATA "/golden/" + name; }

class Measure : public testing::TestWithParam<const char *> {
protected:
  TemporaryFolder folder;

  CheckReport checked(double klBudget = 1e-3) {
    auto report = checkModel(golden(GetParam()), {});
    EXPECT_TRUE(report);
    report->limits.klBudget = klBudget;
    return *report;
  }
  Measurement measured(AttentionRounding rounding = AttentionRounding::Sdpa) {
    auto measurement = measureModel(golden(GetParam()), ids, rounding, {});
    EXPECT_TRUE(measurement) << (measurement ? "" : measurement.error().message);
    return measurement ? *measurement : Measurement();
  }
};

TEST_P(Measure, RaisesVerdictsFromExpectedToMeasured) {
  CheckReport before = checked(), after = before;
  applyMeasurement(measured(), after);
  for (size_t i = 0; i < after.analysis.verdicts.size(); ++i) {
    const Verdict &was = before.analysis.verdicts[i], &is = after.analysis.verdicts[i];
    bool rises = was.contract == Contract::Fast && was.node != node::attention &&
                 was.node != node::attnResidual && was.node != node::mlpResidual;
    EXPECT_EQ(is.basis, rises ? Basis::Measured : was.basis) << was.node;
    EXPECT_EQ(is.deviationWorst == was.deviationWorst, !std::isnan(was.deviationWorst)) << was.node;
    if (!rises) {
      EXPECT_EQ(is.legal, was.legal) << was.node;
      continue;
    }
    EXPECT_GT(is.kl, 0) << was.node;
    EXPECT_EQ(is.legal, is.kl <= 1e-3 / 3) << was.node;
    EXPECT_THAT(is.reason, testing::HasSubstr("measured on 16 tokens: KL"));
  }
  ASSERT_TRUE(after.measured);
  EXPECT_EQ(after.measured->tokens, int64_t(ids.size()));
  EXPECT_EQ(after.analysis.certified, before.analysis.certified);
}

TEST_P(Measure, AgreesWithTheExpectationOnRandomWeights) {
  for (AttentionRounding rounding : {AttentionRounding::Sdpa, AttentionRounding::Eager}) {
    CheckReport report = checked();
    applyMeasurement(measured(rounding), report);
    EXPECT_GE(report.measured->overExpected.least, 0.5);
    EXPECT_LE(report.measured->overExpected.largest, 1.5);
    EXPECT_LT(report.measured->wideOverReference.largest, 1) << "fused at wide is nearer to real numbers";
  }
}

TEST_P(Measure, TheBudgetDecides) {
  Measurement measurement = measured();
  for (double budget : {0.0, 100.0}) {
    CheckReport report = checked(budget);
    applyMeasurement(measurement, report);
    for (const Verdict &verdict : report.analysis.verdicts)
      if (verdict.basis == Basis::Measured)
        EXPECT_EQ(verdict.legal, budget > 0) << verdict.node;
  }
}

TEST_P(Measure, WhatIsNotProvedStaysRefused) {
  CheckReport report = checked(100);
  for (Verdict &verdict : report.analysis.verdicts) {
    verdict.semanticsProved = false;
    verdict.legal = false;
    verdict.reason = "semantics not proved: x";
  }
  applyMeasurement(measured(), report);
  for (const Verdict &verdict : report.analysis.verdicts) {
    EXPECT_FALSE(verdict.legal);
    EXPECT_NE(verdict.basis, Basis::Measured);
  }
}

INSTANTIATE_TEST_SUITE_P(, Measure, testing::Values("qwen3", "llama", "ernie4_5"),
                         [](const auto &info) { return std::string(info.param); });

TEST(MeasureModel, RefusesTextThatIsNone) {
  const int32_t one[] = {5}, unknown[] = {5, 4000};
  for (std::span<const int32_t> wrong : {std::span<const int32_t>(one), std::span<const int32_t>(unknown)}) {
    auto measurement = measureModel(golden("llama"), wrong, AttentionRounding::Sdpa, {});
    ASSERT_FALSE(measurement);
    EXPECT_EQ(measurement.error().kind, ErrorKind::Usage);
  }
}

} // namespace
