#include "runtime/generate/Sampler.h"
#include "runtime/generate/StopStrings.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <map>
#include <random>

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

namespace {
/// The largest logits in order, without NaNs, and the sum of weights as a device computes it.
struct Ranked {
  std::vector<plan::SelectedValue> top;
  float weightSum = 0;
  bool complete = false;
};
Ranked rank(std::span<const float> logits, size_t count) {
  Ranked ranked;
  for (size_t id = 0; id < logits.size(); ++id)
    if (!std::isnan(logits[id]))
      ranked.top.push_back({logits[id], uint32_t(id)});
  std::stable_sort(ranked.top.begin(), ranked.top.end(), [](auto &a, auto &b) { return a.value > b.value; });
  for (auto &value : ranked.top)
    ranked.weightSum += std::exp(value.value - ranked.top[0].value);
  ranked.complete = ranked.top.size() <= count;
  ranked.top.resize(std::min(ranked.top.size(), count));
  return ranked;
}

/// Draws with both samplers over many texts; returns how often the largest logits alone decided.
int sameFromTheLargest(const SamplingOptions &options, double spread, bool ties = false) {
  Sampler all(options), largest(options);
  std::mt19937 engine(11);
  std::normal_distribution<float> normal(0, float(spread));
  std::vector<int32_t> recent;
  int decided = 0;
  for (int i = 0; i < 200; ++i) {
    std::vector<float> logits(2000);
    for (float &logit : logits)
      logit = ties ? std::round(normal(engine)) : normal(engine);
    logits[engine() % logits.size()] = NAN;
    Ranked ranked = rank(logits, 256);
    auto id = largest.sampleRanked(ranked.top, ranked.complete, ranked.weightSum, recent);
    decided += id.has_value();
    int32_t want = all.sample(logits, recent);
    EXPECT_EQ(id ? *id : largest.sample(logits, recent), want);
    recent.push_back(i % 3 ? int32_t(ranked.top[size_t(engine() % 30)].index) : want);
  }
  return decided;
}
} // namespace

TEST(RankedSampler, TopKIsDecidedByTheLargest) {
  SamplingOptions options;
  EXPECT_EQ(sameFromTheLargest(options, 3), 200);
  EXPECT_EQ(sameFromTheLargest(options, 1, /*ties=*/true), 200);
  options.topK = 256;
  EXPECT_EQ(sameFromTheLargest(options, 1), 200);
}

TEST(RankedSampler, RepeatPenaltyIsDecidedWhereListedTokensStayInFront) {
  SamplingOptions options;
  options.repeatPenalty = 1.3;
  EXPECT_EQ(sameFromTheLargest(options, 3), 200);
  options.temperature = 0;
  EXPECT_EQ(sameFromTheLargest(options, 3), 200);
  options.temperature = 1, options.topK = 256, options.minP = 0, options.topP = 1;
  EXPECT_LT(sameFromTheLargest(options, 3), 100);
  options.repeatPenalty = 0.7;
  EXPECT_LT(sameFromTheLargest(options, 3), 2);
}

TEST(RankedSampler, WithoutTopKTheSumOfWeightsDecides) {
  SamplingOptions options;
  options.topK = 0, options.minP = 0, options.topP = 0.9;
  EXPECT_GT(sameFromTheLargest(options, 3), 100);
  options.repeatPenalty = 1.1;
  EXPECT_GT(sameFromTheLargest(options, 4), 30);
  options.topK = 1000;
  EXPECT_GT(sameFromTheLargest(options, 6), 20);
  options.topK = 0, options.topP = 1, options.minP = 0.05;
  EXPECT_EQ(sameFromTheLargest(options, 3), 200);
  options.minP = 0; // the whole vocabulary
  EXPECT_EQ(sameFromTheLargest(options, 3), 0);
}

TEST(RankedSampler, NeedsOneForGreedyAndAllWhereNothingCuts) {
  SamplingOptions options;
  EXPECT_EQ(Sampler(options).ranksNeeded(), 256u);
  EXPECT_EQ(Sampler(plain(0)).ranksNeeded(), 1u);
  EXPECT_EQ(Sampler(plain(1)).ranksNeeded(), 0u);
  options = plain(0);
  options.repeatPenalty = 1.1;
  EXPECT_EQ(Sampler(options).ranksNeeded(), 256u);
}

TEST(RankedSampler, NotANumberIsNeverChosen) {
  std::vector<float> logits = {NAN, -INFINITY, NAN};
  EXPECT_EQ(Sampler(plain(0)).sample(logits, {}), 1);
  EXPECT_EQ(Sampler(plain(0)).sampleRanked({}, true, 0, {}), std::optional<int32_t>(0));
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
