#include "runtime/session/Session.h"

#include "runtime/session/Sequence.h"
#include "support/AtomicFile.h"
#include "test/unit/runtime/ToyModel.h"

#include <algorithm>
#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <numeric>

using namespace fusebox;
using namespace fusebox::toy;
using testing::HasSubstr;

namespace {

std::vector<int32_t> someTokens(size_t count, int32_t seed = 7) {
  std::vector<int32_t> tokens;
  for (size_t i = 0; i < count; ++i)
    tokens.push_back(int32_t((seed + int64_t(i) * 29) % vocabulary));
  return tokens;
}

class SessionTest : public testing::Test {
protected:
  TemporaryFolder folder;
  ToyModel model;
  std::string planPath = model.write(folder);

  std::unique_ptr<Session> open(SessionOptions options = {}) {
    if (options.threads == 0)
      options.threads = 2;
    auto session = Session::open(planPath, options);
    EXPECT_TRUE(session) << session.error().message;
    return session ? std::move(*session) : nullptr;
  }
  Error openError(const SessionOptions &options) {
    auto session = Session::open(planPath, options);
    EXPECT_FALSE(session);
    return session ? Error{} : session.error();
  }
};

/// Compares to the bit.
void expectRow(std::span<const float> got, std::span<const float> expected, size_t row) {
  auto want = expected.subspan(row * vocabulary, vocabulary);
  EXPECT_TRUE(std::equal(got.begin(), got.end(), want.begin(), want.end())) << "row " << row;
}

} // namespace

TEST_F(SessionTest, LogitsAreTheReferencesToTheBit) {
  auto session = open();
  auto tokens = someTokens(10);
  Sequence sequence(*session);
  auto logits = sequence.append(tokens);
  ASSERT_TRUE(logits) << logits.error().message;
  EXPECT_EQ(logits->rows, 1u);
  EXPECT_EQ(sequence.length(), 10u);
  expectRow(logits->row(0), model.reference(tokens), 9);
}

TEST_F(SessionTest, RankedStepsListTheLargestLogitsInOrder) {
  auto session = open();
  auto tokens = someTokens(10);
  Sequence sequence(*session);
  auto ranked = sequence.appendRanked(tokens, 5);
  ASSERT_TRUE(ranked) << ranked.error().message;
  auto expected = model.reference(tokens);
  auto last = std::span(expected).subspan(9 * vocabulary, vocabulary);
  std::vector<uint32_t> ids(vocabulary);
  std::iota(ids.begin(), ids.end(), 0u);
  std::stable_sort(ids.begin(), ids.end(), [&](uint32_t a, uint32_t b) { return last[a] > last[b]; });
  ASSERT_EQ(ranked->row(0).size(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(ranked->row(0)[i].index, ids[i]);
    EXPECT_EQ(ranked->row(0)[i].value, last[ids[i]]);
  }
  auto all = sequence.lastLogits();
  ASSERT_TRUE(all);
  expectRow(all->row(0), expected, 9);
  EXPECT_FALSE(sequence.appendRanked({tokens.data(), 1}, 0));
  EXPECT_FALSE(sequence.appendRanked({tokens.data(), 1}, vocabulary + 1));
}

TEST_F(SessionTest, ChunksThreadsAndDecodeDontShowInTheBits) {
  auto tokens = someTokens(200);
  auto expected = model.reference(tokens);
  for (uint32_t chunk : {1u, 3u, 64u, 512u})
    for (uint32_t threads : {1u, 2u, 5u}) {
      SessionOptions options;
      options.maxStepTokens = chunk;
      options.threads = threads;
      auto session = open(options);
      Sequence sequence(*session);
      size_t next = 0;
      auto all = sequence.appendAll(tokens, [&](size_t first, const Logits &logits) -> Result<void> {
        EXPECT_EQ(first, next);
        for (uint32_t row = 0; row < logits.rows; ++row)
          expectRow(logits.row(row), expected, next++);
        return {};
      });
      ASSERT_TRUE(all) << all.error().message;
      EXPECT_EQ(next, tokens.size());
    }
}

TEST_F(SessionTest, SequencesInOneStepDontDisturbEachOther) {
  SessionOptions options;
  options.slots = 3;
  auto session = open(options);
  std::vector<std::vector<int32_t>> texts = {someTokens(150, 1), someTokens(90, 2), someTokens(130, 3)};
  // Ragged steps: the sequences grow at different speeds, one pauses now and then.
  std::vector<size_t> done(3);
  for (int round = 0; done[0] < 150 || done[1] < 90 || done[2] < 130; ++round) {
    std::vector<int32_t> tokens, starts = {0}, slots, rows;
    for (int32_t s = 0; s < 3; ++s) {
      size_t count = std::min<size_t>(1 + size_t(s + round) % 40, texts[size_t(s)].size() - done[size_t(s)]);
      if (count == 0 || (round + s) % 5 == 0)
        continue;
      auto &text = texts[size_t(s)];
      tokens.insert(tokens.end(), text.begin() + long(done[size_t(s)]),
                    text.begin() + long(done[size_t(s)] + count));
      done[size_t(s)] += count;
      starts.push_back(int32_t(tokens.size()));
      slots.push_back(s);
      rows.push_back(int32_t(tokens.size()) - 1);
    }
    if (slots.empty())
      continue;
    auto logits = session->step({tokens, starts, slots, rows});
    ASSERT_TRUE(logits) << logits.error().message;
    for (size_t i = 0; i < slots.size(); ++i) {
      size_t slot = size_t(slots[i]);
      expectRow(logits->row(uint32_t(i)), model.reference(std::span(texts[slot]).first(done[slot])),
                done[slot] - 1);
    }
  }
}

TEST_F(SessionTest, TruncationForgetsAndFreesPages) {
  auto session = open();
  auto tokens = someTokens(300);
  Sequence sequence(*session);
  for (int round = 0; round < 20; ++round) {
    ASSERT_TRUE(sequence.append(tokens));
    ASSERT_TRUE(sequence.truncate(65));
  }
  auto other = someTokens(70, 11);
  auto whole = std::vector<int32_t>(tokens.begin(), tokens.begin() + 65);
  whole.insert(whole.end(), other.begin(), other.end());
  auto logits = sequence.append(other);
  ASSERT_TRUE(logits);
  expectRow(logits->row(0), model.reference(whole), whole.size() - 1);
  EXPECT_FALSE(sequence.truncate(1000));
}

TEST_F(SessionTest, ContextLimitIsSaidAndLeavesTheSequenceAsItWas) {
  SessionOptions options;
  options.contextTokens = 100;
  auto session = open(options);
  Sequence sequence(*session);
  ASSERT_TRUE(sequence.append(someTokens(90)));
  auto tooMany = sequence.append(someTokens(11));
  ASSERT_FALSE(tooMany);
  EXPECT_EQ(tooMany.error().kind, ErrorKind::Resource);
  EXPECT_THAT(tooMany.error().message, HasSubstr("90 tokens and 11 more exceed its 100"));
  EXPECT_EQ(sequence.length(), 90u);
  EXPECT_TRUE(sequence.append(someTokens(10)));
  EXPECT_EQ(sequence.room(), 0u);
}

TEST_F(SessionTest, ContextBeyondTheModelIsRefused) {
  SessionOptions options;
  options.contextTokens = 1001;
  Error error = openError(options);
  EXPECT_EQ(error.kind, ErrorKind::Usage);
  EXPECT_THAT(error.message, HasSubstr("1000"));
}

TEST_F(SessionTest, VariantIsChosenByRows) {
  auto session = open();
  const plan::Program &program = session->program();
  uint32_t embed = launchNamed(program, "embed");
  StepView step = {};
  step.tokens = 1;
  EXPECT_EQ(program.kernels[selectVariant(program.launches[embed], step, 0).kernel].symbol, "toy_embed_one");
  step.tokens = 2;
  EXPECT_EQ(program.kernels[selectVariant(program.launches[embed], step, 0).kernel].symbol, "toy_embed");
}

TEST(SelectVariant, KeysBoundAVariant) {
  plan::Launch launch;
  launch.variants.resize(3);
  launch.variants[0].minKeys = 10;
  launch.variants[0].belowKeys = 20;
  launch.variants[1].belowKeys = 30;
  StepView step = {};
  step.tokens = 1;
  auto chosen = [&](uint64_t keys) { return &selectVariant(launch, step, keys) - launch.variants.data(); };
  EXPECT_EQ(chosen(9), 1);
  EXPECT_EQ(chosen(10), 0);
  EXPECT_EQ(chosen(19), 0);
  EXPECT_EQ(chosen(20), 1);
  EXPECT_EQ(chosen(29), 1);
  EXPECT_EQ(chosen(30), 2);
}

TEST(SelectVariant, LoopVariantsRunWhereAllowedAndNeverAlone) {
  plan::Launch launch;
  launch.variants.resize(4);
  for (plan::Variant &variant : std::span(launch.variants).first(3))
    variant.maxRows = 1;
  launch.variants[0].loop = true;
  launch.variants[0].belowKeys = 100;
  StepView step = {};
  step.tokens = 1;
  auto chosen = [&](uint64_t keys, bool alone, bool loops) {
    return &selectVariant(launch, step, keys, alone, loops) - launch.variants.data();
  };
  EXPECT_EQ(chosen(99, false, true), 0);
  EXPECT_EQ(chosen(100, false, true), 1);
  EXPECT_EQ(chosen(99, false, false), 1);
  EXPECT_EQ(chosen(99, true, true), 2);
  step.tokens = 2;
  EXPECT_EQ(chosen(99, false, true), 3);
  EXPECT_EQ(chosen(99, true, true), 3);
}

TEST_F(SessionTest, LoopVariantsArePassedOverOnTheCpu) {
  plan::Program program = model.program("weights.bin");
  addLoopVariants(program);
  ASSERT_TRUE(model.writer(program).write(planPath));
  auto session = open();
  auto tokens = someTokens(1);
  Sequence sequence(*session);
  auto logits = sequence.append(tokens);
  ASSERT_TRUE(logits) << logits.error().message;
  expectRow(logits->row(0), model.reference(tokens), 0);
}

TEST_F(SessionTest, ObserverSeesEveryNodeByLayer) {
  auto session = open();
  std::vector<std::string> names;
  std::vector<float> logits;
  session->observe([&](const NodeReport &report) -> Result<void> {
    names.push_back(report.name());
    EXPECT_EQ(report.rows, report.value->node == "logits" ? 1u : 5u);
    if (report.value->node == "logits") {
      logits.resize(vocabulary);
      std::memcpy(logits.data(), report.data, vocabulary * sizeof(float));
    }
    return {};
  });
  auto tokens = someTokens(5);
  Sequence sequence(*session);
  ASSERT_TRUE(sequence.append(tokens));
  EXPECT_THAT(names, testing::ElementsAre("embed", "decoder.0.attend", "decoder.1.attend", "decoder.2.attend",
                                          "logits"));
  expectRow(logits, model.reference(tokens), 4);

  session->observe({});
  names.clear();
  ASSERT_TRUE(sequence.append(tokens));
  EXPECT_TRUE(names.empty());
}

TEST_F(SessionTest, ObserversFailureStopsTheStepAndUndoesIt) {
  auto session = open();
  session->observe([](const NodeReport &) -> Result<void> { return resourceError("disk full"); });
  Sequence sequence(*session);
  auto logits = sequence.append(someTokens(5));
  ASSERT_FALSE(logits);
  EXPECT_EQ(logits.error().message, "disk full");
  EXPECT_EQ(sequence.length(), 0u);
}

TEST_F(SessionTest, PrefillWithoutLogitsComputesNone) {
  auto session = open();
  int logitsSeen = 0;
  session->observe([&](const NodeReport &report) -> Result<void> {
    logitsSeen += report.value->node == "logits";
    return {};
  });
  auto tokens = someTokens(7);
  const int32_t starts[] = {0, 7}, slots[] = {0};
  auto logits = session->step({tokens, starts, slots, {}});
  ASSERT_TRUE(logits);
  EXPECT_EQ(logits->rows, 0u);
  EXPECT_EQ(logitsSeen, 0);
}

TEST_F(SessionTest, MalformedBatchesAreRefused) {
  SessionOptions options;
  options.slots = 2;
  options.maxStepTokens = 8;
  auto session = open(options);
  auto fails = [&](std::vector<int32_t> tokens, std::vector<int32_t> starts, std::vector<int32_t> slots,
                   std::vector<int32_t> rows) {
    auto result = session->step({tokens, starts, slots, rows});
    return !result && result.error().kind == ErrorKind::Usage;
  };
  EXPECT_TRUE(fails({}, {0}, {}, {}));
  EXPECT_TRUE(fails({1, 2}, {0, 1}, {0}, {}));
  EXPECT_TRUE(fails({1, 2}, {0, 2, 1}, {0, 1}, {}));
  EXPECT_TRUE(fails({1, 2}, {0, 2, 2}, {0, 1}, {}));
  EXPECT_TRUE(fails({1, 2}, {0, 1, 2}, {0, 0}, {}));
  EXPECT_TRUE(fails({1}, {0, 1}, {2}, {}));
  EXPECT_TRUE(fails({1}, {0, 1}, {-1}, {}));
  EXPECT_TRUE(fails({int32_t(vocabulary)}, {0, 1}, {0}, {}));
  EXPECT_TRUE(fails({-1}, {0, 1}, {0}, {}));
  EXPECT_TRUE(fails({1}, {0, 1}, {0}, {1}));
  EXPECT_TRUE(fails({1, 2}, {0, 2}, {0}, {1, 0}));
  EXPECT_TRUE(fails({1, 2, 3, 4, 5, 6, 7, 8, 9}, {0, 9}, {0}, {}));
  EXPECT_EQ(session->length(0), 0u);
  EXPECT_FALSE(fails({1, 2}, {0, 1, 2}, {1, 0}, {0, 1}));
}

TEST_F(SessionTest, TooLittleMemoryIsSaidInNumbersBeforeLoading) {
  // The weight file is gone: a message about memory shows that nothing was opened yet.
  std::filesystem::remove(folder.file("weights.bin"));
  SessionOptions options;
  options.memoryBudget = 1000;
  Error error = openError(options);
  EXPECT_EQ(error.kind, ErrorKind::Resource);
  EXPECT_THAT(error.message, HasSubstr("not enough memory"));
  EXPECT_THAT(error.message, HasSubstr("the memory budget is 1.0 kB"));
}

TEST_F(SessionTest, ContextShrinksToTheBudgetUnlessItWasNamed) {
  SessionOptions options;
  uint64_t page = layers * 64 * hidden * 4;
  uint64_t rest = open()->memory().total() - open()->memory().kvCache;
  options.memoryBudget = rest + 2 * page + page / 2;
  auto session = open(options);
  EXPECT_EQ(session->contextTokens(), 128u);
  options.contextTokens = 300;
  Error error = openError(options);
  EXPECT_EQ(error.kind, ErrorKind::Resource);
  EXPECT_THAT(error.message, HasSubstr("at most 128 tokens fits"));
}

TEST_F(SessionTest, KvCacheIsSharedBySlotsUpToTheirContext) {
  SessionOptions options;
  options.slots = 2;
  options.contextTokens = 128;
  auto session = open(options);
  Sequence first(*session, 0), second(*session, 1);
  EXPECT_TRUE(first.append(someTokens(128)));
  EXPECT_TRUE(second.append(someTokens(128)));
  EXPECT_FALSE(first.append(someTokens(1)));
}

TEST_F(SessionTest, EmbeddedWeightsNeedNoOtherFile) {
  plan::Program program = model.program("weights.bin");
  program.files[0].embedded = true;
  auto writer = model.writer(program);
  auto weights = MappedFile::open(folder.file("weights.bin"));
  ASSERT_TRUE(weights);
  writer.setEmbeddedWeights({*weights});
  ASSERT_TRUE(writer.write(planPath));
  std::filesystem::remove(folder.file("weights.bin"));
  auto session = open();
  ASSERT_TRUE(session);
  auto tokens = someTokens(4);
  Sequence sequence(*session);
  auto logits = sequence.append(tokens);
  ASSERT_TRUE(logits);
  expectRow(logits->row(0), model.reference(tokens), 3);
}

TEST_F(SessionTest, PlanForAnotherCpuSaysSo) {
  plan::Program program = model.program("weights.bin");
  program.targets[0] = {plan::TargetKind::Cpu, "x86-64", "+avx512bf16,+no-such-feature"};
  ASSERT_TRUE(model.writer(program).write(planPath));
  Error error = openError({});
  EXPECT_EQ(error.kind, ErrorKind::Model);
  EXPECT_THAT(error.message, HasSubstr("x86-64,+avx512bf16,+no-such-feature"));
  EXPECT_THAT(error.message, HasSubstr("no-such-feature"));
  EXPECT_THAT(error.message, HasSubstr("--target cpu"));
}
