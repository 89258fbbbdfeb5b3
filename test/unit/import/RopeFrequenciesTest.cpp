// RoPE's inverse frequencies against values that transformers' ROPE_INIT_FUNCTIONS give (f32).
#include "frontends/import/RopeFrequencies.h"

#include <gtest/gtest.h>

using namespace fusebox;

namespace {

RopeSpec llama31() {
  return {.theta = 500000,
          .rotaryDim = 8,
          .scaling = RopeScaling::Llama3,
          .factor = 8,
          .lowFreqFactor = 1,
          .highFreqFactor = 4,
          .originalMaxPosition = 64,
          .frequencyFactors = {}};
}

} // namespace

TEST(RopeFrequencies, PlainOnesArePowersOfTheta) {
  EXPECT_EQ(ropeFrequencies({.theta = 10000, .rotaryDim = 8, .frequencyFactors = {}}),
            (std::vector<float>{1.0f, 0.1f, 0.01f, 0.001f}));
}

TEST(RopeFrequencies, LinearScalingDividesAll) {
  EXPECT_EQ(ropeFrequencies({.theta = 10000,
                             .rotaryDim = 4,
                             .scaling = RopeScaling::Linear,
                             .factor = 4,
                             .frequencyFactors = {}}),
            (std::vector<float>{0.25f, 0.0025f}));
}

TEST(RopeFrequencies, Llama3KeepsHighOnesAndDividesLowOnes) {
  std::vector<float> plain = ropeFrequencies({.theta = 500000, .rotaryDim = 8, .frequencyFactors = {}}),
                     scaled = ropeFrequencies(llama31());
  // Wavelengths 6.3, 167, 4443, …; kept below 64/4, divided by 8 above 64.
  EXPECT_EQ(scaled[0], plain[0]);
  for (int j : {1, 2, 3})
    EXPECT_EQ(scaled[j], plain[j] / 8);
}

TEST(RopeFrequencies, Llama3BlendsThoseBetween) {
  RopeSpec rope = llama31();
  rope.theta = 1296; // wavelengths 6.3, 37.7, 226, …
  std::vector<float> scaled = ropeFrequencies(rope);
  double frequency = 1 / 6.0, smooth = (64 * frequency / 6.283185307179586 - 1) / 3;
  EXPECT_NEAR(scaled[1], (1 - smooth) * frequency / 8 + smooth * frequency, 1e-8);
}

TEST(RopeFrequencies, FrequencyFactorsDivideEach) {
  EXPECT_EQ(ropeFrequencies({.theta = 10000, .rotaryDim = 4, .frequencyFactors = {1, 8}}),
            (std::vector<float>{1.0f, 0.01f / 8}));
}
