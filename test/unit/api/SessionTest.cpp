// Sessions as a program sees them that uses include/fusebox.h alone.
#include "include/fusebox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <numeric>
#include <vector>

#include <unistd.h>

extern "C" const char *versionSeenFromC(void);

namespace {

using testing::HasSubstr;

const char *model = FUSEBOX_TEST_DATA "/golden/llama";

/// Tokens of one sequence in a step.
struct Part {
  int32_t slot;
  std::vector<int32_t> tokens;
};

class SessionTest : public testing::Test {
protected:
  // One cache for all tests: the model is compiled once.
  static void SetUpTestSuite() { setenv("XDG_CACHE_HOME", cacheFolder().c_str(), 1); }
  static void TearDownTestSuite() {
    unsetenv("XDG_CACHE_HOME");
    std::filesystem::remove_all(cacheFolder());
  }
  static std::string cacheFolder() { return testing::TempDir() + "fusebox-api-" + std::to_string(getpid()); }

  void open(const fusebox_open_options *options) {
    fusebox_session *opened = nullptr;
    ASSERT_EQ(fusebox_open(model, options, &opened), FUSEBOX_OK) << fusebox_last_error();
    session.reset(opened);
    fusebox_model_info info;
    ASSERT_EQ(fusebox_info(opened, &info), FUSEBOX_OK);
    vocabulary = size_t(info.vocabulary);
  }
  void open(int slots) {
    fusebox_open_options options;
    fusebox_open_options_init(&options);
    options.slots = slots;
    open(&options);
  }

  fusebox_status tryStep(const std::vector<Part> &parts, const float **logits) {
    std::vector<int32_t> tokens, starts = {0}, slots;
    for (const Part &part : parts) {
      tokens.insert(tokens.end(), part.tokens.begin(), part.tokens.end());
      starts.push_back(int32_t(tokens.size()));
      slots.push_back(part.slot);
    }
    std::vector<int32_t> rows(tokens.size());
    std::iota(rows.begin(), rows.end(), 0);
    auto count = int32_t(tokens.size());
    fusebox_batch batch = {count,         int32_t(parts.size()), count,      tokens.data(),
                           starts.data(), slots.data(),          rows.data()};
    return fusebox_step(session.get(), &batch, logits);
  }

  /// Runs one step and appends each part's logits to those of its slot.
  void step(const std::vector<Part> &parts, std::vector<std::vector<float>> &logitsOfSlot) {
    const float *logits = nullptr;
    ASSERT_EQ(tryStep(parts, &logits), FUSEBOX_OK) << fusebox_last_error();
    for (const Part &part : parts) {
      size_t count = part.tokens.size() * vocabulary;
      auto &collected = logitsOfSlot[size_t(part.slot)];
      collected.insert(collected.end(), logits, logits + count);
      logits += count;
    }
  }

  struct Closer {
    void operator()(fusebox_session *opened) const { fusebox_close(opened); }
  };
  std::unique_ptr<fusebox_session, Closer> session;
  size_t vocabulary = 0;
};

TEST_F(SessionTest, TwoSequencesSideBySideHaveTheBitsEachHasAlone) {
  const std::vector<int32_t> first = {1, 17, 250, 33, 9, 78, 301},
                             second = {1, 5, 5, 44, 190, 2, 66, 71, 380};
  auto part = [](int32_t slot, const std::vector<int32_t> &tokens, size_t from, size_t to) {
    return Part{slot, {tokens.begin() + ptrdiff_t(from), tokens.begin() + ptrdiff_t(to)}};
  };
  open(2);
  std::vector<std::vector<float>> together(2), alone(2);
  step({part(0, first, 0, 4), part(1, second, 0, 6)}, together); // two prompts
  step({part(1, second, 6, 7), part(0, first, 4, 6)}, together); // a token beside a chunk, in another order
  step({part(0, first, 6, 7), part(1, second, 7, 9)}, together);
  EXPECT_EQ(fusebox_slot_length(session.get(), 0), 7);
  EXPECT_EQ(fusebox_slot_length(session.get(), 1), 9);
  for (int32_t slot : {0, 1})
    ASSERT_EQ(fusebox_slot_truncate(session.get(), slot, 0), FUSEBOX_OK);
  step({part(0, first, 0, first.size())}, alone);
  step({part(1, second, 0, second.size())}, alone);
  ASSERT_EQ(alone[1].size(), second.size() * vocabulary);
  EXPECT_EQ(together[0], alone[0]);
  EXPECT_EQ(together[1], alone[1]);
}

TEST_F(SessionTest, ASlotThatIsNotThereIsAUsageError) {
  open(2);
  const float *logits = nullptr;
  for (int32_t slot : {-1, 2}) {
    EXPECT_EQ(tryStep({{slot, {1, 2}}}, &logits), FUSEBOX_USAGE);
    EXPECT_THAT(fusebox_last_error(), HasSubstr("slot " + std::to_string(slot)));
    EXPECT_EQ(fusebox_slot_length(session.get(), slot), -1);
    EXPECT_EQ(fusebox_slot_truncate(session.get(), slot, 0), FUSEBOX_USAGE);
    fusebox_generate_options options;
    fusebox_generate_options_init(&options);
    options.slot = slot;
    fusebox_generation generation;
    int32_t ids[] = {1};
    auto ignore = [](void *, int32_t, const char *) { return 0; };
    EXPECT_EQ(fusebox_generate(session.get(), ids, 1, &options, ignore, nullptr, &generation), FUSEBOX_USAGE);
  }
}

TEST_F(SessionTest, OptionsOfAnOlderHeaderKeepWorking) {
  fusebox_open_options options;
  fusebox_open_options_init(&options);
  options.size = offsetof(fusebox_open_options, slots);
  options.slots = -7; // beyond what that header had
  open(&options);
  const float *logits = nullptr;
  EXPECT_EQ(tryStep({{0, {1, 2}}}, &logits), FUSEBOX_OK);
  EXPECT_EQ(tryStep({{1, {1, 2}}}, &logits), FUSEBOX_USAGE) << "one slot is the default";
}

TEST_F(SessionTest, NullOptionsAreTheDefaultsAndEmptyOnesAnError) {
  open(nullptr);
  fusebox_open_options options = {};
  fusebox_session *none = nullptr;
  EXPECT_EQ(fusebox_open(model, &options, &none), FUSEBOX_USAGE);
  EXPECT_THAT(fusebox_last_error(), HasSubstr("_init"));
}

TEST_F(SessionTest, ProgressSaysHowFarAPromptIsAndCanCancelIt) {
  struct Seen {
    std::vector<std::string> stages;
    double last = 0;
  } seen;
  fusebox_open_options options;
  fusebox_open_options_init(&options);
  options.chunk = 8;
  options.progress_user = &seen;
  options.progress = [](void *user, const char *stage, double fraction) {
    auto *seen = static_cast<Seen *>(user);
    if (seen->stages.empty() || seen->stages.back() != stage)
      seen->stages.push_back(stage);
    seen->last = fraction;
    return int(fraction >= 0.5);
  };
  open(&options);
  std::vector<int32_t> ids(64, 3);
  fusebox_generation generation;
  auto ignore = [](void *, int32_t, const char *) { return 0; };
  ASSERT_EQ(fusebox_generate(session.get(), ids.data(), 64, nullptr, ignore, nullptr, &generation),
            FUSEBOX_OK)
      << fusebox_last_error();
  EXPECT_STREQ(generation.finish_reason, "cancelled");
  EXPECT_EQ(generation.generated_tokens, 0);
  EXPECT_EQ(seen.stages, (std::vector<std::string>{"loading", "prompt"}));
  EXPECT_EQ(seen.last, 0.5);
  std::vector<float> logits(64 * vocabulary);
  EXPECT_EQ(fusebox_logits(session.get(), ids.data(), 64, logits.data(), nullptr, nullptr), FUSEBOX_RESOURCE);
  EXPECT_THAT(fusebox_last_error(), HasSubstr("cancelled"));
}

TEST(Header, IsC) { EXPECT_STREQ(versionSeenFromC(), fusebox_version()); }

} // namespace
