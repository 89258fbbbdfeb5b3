// A position's logits have the same bits however the step around it was cut.
#include "PlanModel.h"

#include <gtest/gtest.h>

#include <algorithm>

using namespace fusebox;
using namespace fusebox::test;

namespace {

class SameBits : public testing::TestWithParam<const char *> {
protected:
  const CompiledPlan &plan = compiledGolden(GetParam());
  std::vector<int32_t> ids = longPrompt();

  /// Longer than two KV pages, so that key blocks and chunks meet at all places.
  std::vector<int32_t> longPrompt() {
    std::vector<int32_t> text = Expected(golden(GetParam())).ids("input_ids"), prompt;
    for (size_t i = 0; prompt.size() < 150; ++i)
      prompt.push_back(text[(i * 7 + i / text.size()) % text.size()]);
    return prompt;
  }

  std::unique_ptr<Session> session(uint32_t threads = 0, uint32_t slots = 1) {
    SessionOptions options;
    options.threads = threads;
    options.slots = slots;
    options.maxLogitsRows = 512;
    return open(plan, options);
  }

  std::vector<float> whole(uint32_t threads) {
    auto session = this->session(threads);
    return session ? step(*session, ids) : std::vector<float>();
  }

  std::vector<float> chunked(size_t chunk) {
    auto session = this->session();
    std::vector<float> all;
    for (size_t first = 0; session && first < ids.size(); first += chunk) {
      std::vector<float> part =
          step(*session, std::span(ids).subspan(first, std::min(chunk, ids.size() - first)));
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  }
};

TEST_P(SameBits, InChunksOfAnySize) {
  std::vector<float> reference = whole(2);
  ASSERT_FALSE(reference.empty());
  for (size_t chunk : {1, 2, 7, 64, 100})
    EXPECT_EQ(chunked(chunk), reference) << "in chunks of " << chunk;
}

/// Launches that run as one in steps of one token run separately when somebody looks at every value.
TEST_P(SameBits, AloneAsMerged) {
  auto oneByOne = [&](uint32_t threads, bool observed) {
    auto session = this->session(threads);
    std::vector<float> all;
    uint64_t values = 0;
    if (session && observed)
      session->observe([&](const NodeReport &) -> Result<void> { return ++values, Result<void>(); });
    for (size_t i = 0; session && i < 70; ++i) {
      std::vector<float> logits = step(*session, std::span(ids).subspan(i, 1));
      all.insert(all.end(), logits.begin(), logits.end());
    }
    EXPECT_EQ(values != 0, observed);
    return all;
  };
  std::vector<float> separate = oneByOne(2, true);
  ASSERT_FALSE(separate.empty());
  for (uint32_t threads : {1, 2, 5})
    EXPECT_EQ(oneByOne(threads, false), separate) << "on " << threads << " threads";
}

TEST_P(SameBits, OnAnyNumberOfThreads) {
  std::vector<float> reference = whole(1);
  ASSERT_FALSE(reference.empty());
  for (uint32_t threads : {2, 3, 4})
    EXPECT_EQ(whole(threads), reference) << "on " << threads << " threads";
}

TEST_P(SameBits, BesideOtherSequences) {
  std::vector<float> reference = whole(2);
  ASSERT_FALSE(reference.empty());
  auto session = this->session(0, 3);
  ASSERT_TRUE(session);
  size_t vocabulary = session->model().vocabulary;
  // Sequence 1 is the reference's; the others differ and start at other positions.
  std::vector<float> ours;
  for (size_t first = 0; first < ids.size(); first += 50) {
    std::vector<int32_t> tokens(first == 0 ? 17 : 1, ids[first + 3]);
    std::vector<int32_t> starts = {0, int32_t(tokens.size())}, slots = {2, 1, 0}, rows;
    for (size_t i = first; i < first + 50; ++i) {
      rows.push_back(int32_t(tokens.size()));
      tokens.push_back(ids[i]);
    }
    starts.push_back(int32_t(tokens.size()));
    tokens.insert(tokens.end(), 9, ids[first + 5]);
    starts.push_back(int32_t(tokens.size()));
    Result<Logits> logits = session->step({tokens, starts, slots, rows});
    ASSERT_TRUE(logits) << logits.error().message;
    ours.insert(ours.end(), logits->values, logits->values + size_t(logits->rows) * vocabulary);
  }
  EXPECT_EQ(ours, reference);
}

INSTANTIATE_TEST_SUITE_P(, SameBits, testing::Values("llama", "qwen3", "ernie4_5"));

} // namespace
