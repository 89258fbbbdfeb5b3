// The program fusebox-run as its user sees it: output, messages, exit codes.
#include "test/unit/runtime/ToyModel.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

using namespace fusebox;
using namespace fusebox::toy;
using testing::HasSubstr;

namespace {

struct Outcome {
  int code;
  std::string output; ///< both streams, unless the command line says otherwise
};

Outcome shell(const std::string &command) {
  FILE *pipe = popen(("(" + command + ") 2>&1").c_str(), "r");
  std::string output;
  std::array<char, 4096> part;
  for (size_t size; (size = fread(part.data(), 1, part.size(), pipe)) > 0;)
    output.append(part.data(), size);
  int status = pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, output};
}

class FuseboxRunTest : public testing::Test {
protected:
  TemporaryFolder folder;
  ToyModel model;
  std::string planPath = model.write(folder);
  std::string command = FUSEBOX_RUN " " + planPath + " ";

  std::string greedy(std::vector<int32_t> tokens, int count) {
    std::string ids;
    for (; count > 0; --count) {
      auto logits = model.reference(tokens);
      auto last = logits.end() - vocabulary;
      tokens.push_back(int32_t(std::max_element(last, logits.end()) - last));
      ids += std::to_string(tokens.back()) + "\n";
    }
    return ids;
  }
};

} // namespace

TEST_F(FuseboxRunTest, GreedyIdsAreTheReferences) {
  auto run = shell(command + "--ids 3,1,4,1,5 -n 12 --temp 0 -t 2 2>/dev/null");
  EXPECT_EQ(run.code, 0);
  EXPECT_EQ(run.output, greedy({3, 1, 4, 1, 5}, 12));
}

TEST_F(FuseboxRunTest, SameSeedSameText) {
  std::string sampled = command + "--ids 3 -n 20 --temp 5 --seed 42 2>/dev/null";
  auto first = shell(sampled), second = shell(sampled + " -t 1");
  EXPECT_EQ(first.code, 0);
  EXPECT_EQ(first.output, second.output);
}

TEST_F(FuseboxRunTest, ExitCodesTellKindsOfTroubleApart) {
  EXPECT_EQ(shell(command).code, 10);
  EXPECT_EQ(shell(command + "--ids 1,x").code, 10);
  EXPECT_EQ(shell(command + "--ids 4000").code, 10);
  EXPECT_EQ(shell(command + "--no-such-flag").code, 10);
  auto text = shell(command + "-p hello");
  EXPECT_EQ(text.code, 10);
  EXPECT_THAT(text.output, HasSubstr("no tokenizer"));
  EXPECT_EQ(shell(FUSEBOX_RUN " /no/such.plan --ids 1").code, 11);
  auto full = shell(command + "--ids 1,2,3 -c 2");
  EXPECT_EQ(full.code, 12);
  EXPECT_THAT(full.output, HasSubstr("exceed its 2"));
  EXPECT_EQ(shell(FUSEBOX_RUN " --help").code, 0);
}

TEST_F(FuseboxRunTest, InterruptEndsTheTextAndSaysSo) {
  plan::Program program = model.program("weights.bin");
  program.model.maxPosition = 1 << 20;
  ASSERT_TRUE(model.writer(program).write(planPath));
  auto run =
      shell("timeout --preserve-status -s INT 0.3 " + command + "--ids 1 --temp 0 --print-ids -c 1000000");
  EXPECT_EQ(run.code, 130);
  EXPECT_THAT(run.output, HasSubstr("ended by cancelled"));
}

TEST_F(FuseboxRunTest, FullDiskBehindStandardOutputIsAnError) {
  auto run = shell(command + "--ids 1 -n 5 --temp 0 2>&1 >/dev/full");
  EXPECT_EQ(run.code, 12);
  EXPECT_THAT(run.output, HasSubstr("disk full"));
}

TEST_F(FuseboxRunTest, ContextEndIsReported) {
  auto run = shell(command + "--ids 1,2,3 -c 6 --temp 0");
  EXPECT_EQ(run.code, 0);
  EXPECT_THAT(run.output, HasSubstr("ended by context"));
}

#if !defined(__has_feature) || !(__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
TEST_F(FuseboxRunTest, TooLittleMemoryIsSaidInNumbers) {
  plan::Program program = model.program("weights.bin");
  program.buffers[1].bytesPerUnit = 1 << 20; // half a gigabyte for a step of 512 tokens
  ASSERT_TRUE(model.writer(program).write(planPath));
  auto run = shell("ulimit -v 400000; " + command + "--ids 1");
  EXPECT_EQ(run.code, 12);
  EXPECT_THAT(run.output, HasSubstr("not enough memory: at least"));
  EXPECT_EQ(shell(command + "--ids 1 -n 1").code, 0) << "without the limit it runs";
}
#endif
