#include "runtime/generate/Sampler.h"
#include "runtime/generate/StopStrings.h"

#include <cmath>
#include <gtest/gtest.h>
#include <map>

using namespace fusebox;

static SamplingOptions plain(double temperature) {
  SamplingOptions options;
  options.temperature = temperature;
  options.topK = 0;
  options.topP = 1;
  options.minP = 0;
  return options;
}

/// Draws 20,000 tokens and returns how often each came.
static std::map<int32_t, double> frequencies(const SamplingOptions &options, std::span<const float> logits) {
  Sampler sampler(options);
  std::map<int32_t, double> shares;
  for (int i = 0; i < 20000; ++i)
    shares[sampler.sample(logits, {})] += 1.0 / 20000;
  return shares;
}

TEST(Sampler, GreedyTakesLowestIdOfEqualLogits) {
  std::vector<float> logits = {1, 3, 3, NAN, -INFINITY};
  EXPECT_EQ(Sampler(plain(0)).sample(logits, {}), 1);
}

TEST(Sampler, SameSeedSameTokensAndOtherSeedOtherTokens) {
  std::vector<float> logits(100, 0.5f);
  SamplingOptions one = plain(1), two = plain(1);
  one.seed = 7, two.seed = 8;
  Sampler a(one), b(one), c(two);
  int differing = 0;
  for (int i = 0; i < 200; ++i) {
    int32_t token = a.sample(logits, {});
    EXPECT_EQ(token, b.sample(logits, {}));
    differing += token != c.sample(logits, {});
  }
  EXPECT_GT(differing, 150);
}

TEST(Sampler, DrawsFollowTheSoftmax) {
  std::vector<float> logits = {std::log(0.6f), std::log(0.3f), std::log(0.1f)};
  auto shares = frequencies(plain(1), logits);
  EXPECT_NEAR(shares[0], 0.6, 0.02);
  EXPECT_NEAR(shares[1], 0.3, 0.02);
  EXPECT_NEAR(shares[2], 0.1, 0.02);
  auto sharper = frequencies(plain(0.5), logits);
  EXPECT_NEAR(sharper[0], 0.36 / 0.46, 0.02);
}

TEST(Sampler, FiltersKeepWhatTheySay) {
  std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  SamplingOptions topK = plain(1), topP = plain(1), minP = plain(1);
  topK.topK = 2, topP.topP = 0.75, minP.minP = 0.25;
  EXPECT_EQ(frequencies(topK, logits).size(), 2u);
  EXPECT_EQ(frequencies(topP, logits).size(), 2u);
  EXPECT_EQ(frequencies(minP, logits).size(), 3u);
}

TEST(Sampler, RepeatPenaltyTurnsGreedyAwayFromRecentTokens) {
  std::vector<float> logits = {2.0f, 1.9f, -1.0f};
  SamplingOptions options = plain(0);
  options.repeatPenalty = 1.2;
  std::vector<int32_t> recent = {0};
  EXPECT_EQ(Sampler(options).sample(logits, recent), 1);
  options.repeatLast = 0;
  EXPECT_EQ(Sampler(options).sample(logits, recent), 0);
}

TEST(StopStrings, HoldsBackWhatMayBecomeAStop) {
  StopStrings stops({"\nUser:", "END"});
  EXPECT_EQ(stops.push("Hello\nU"), "Hello");
  EXPECT_EQ(stops.push("nder EN"), "\nUnder ");
  EXPECT_EQ(stops.push("D of text"), "");
  EXPECT_TRUE(stops.stopped());
  EXPECT_EQ(stops.finish(), "");
}

TEST(StopStrings, GivesHeldTextAtTheEnd) {
  StopStrings stops({"STOP"});
  EXPECT_EQ(stops.push("a ST"), "a ");
  EXPECT_EQ(stops.finish(), "ST");
  EXPECT_FALSE(stops.stopped());
}
