// The compiler's phases as steps: stopped at, dumped, edited, resumed.
#include "PlanModel.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include <unistd.h>

using namespace fusebox;
using namespace fusebox::test;
namespace fs = std::filesystem;

namespace {

class Phases : public testing::Test {
protected:
  std::string folder = testing::TempDir() + "fusebox-phases-" + std::to_string(getpid());
  std::string model = golden("llama");
  void TearDown() override { fs::remove_all(folder); }

  std::string dumpOf(Phase phase) {
    return folder + "/" + std::to_string(unsigned(phase) + 1) + "-" + std::string(phaseName(phase)) + ".mlir";
  }
  static std::string read(const std::string &path) {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }
  static std::vector<float> logitsOf(const CompiledPlan &plan) {
    auto session = open(plan);
    return session ? step(*session, std::vector<int32_t>{1, 2, 3, 4, 5}) : std::vector<float>();
  }
};

TEST_F(Phases, EachStopsAfterItself) {
  for (std::string_view name : phaseNames) {
    if (phaseFromName(name) >= Phase::Codegen)
      break; // takes as long as the whole, which the next test runs
    auto plan = compile(model, {.stopAfter = phaseFromName(name)});
    ASSERT_TRUE(plan);
    EXPECT_EQ(phaseName(plan->reached), name);
    EXPECT_NE(plan->ir.find("plan.phase = \"" + std::string(name) + "\""), std::string::npos) << plan->ir;
  }
}

TEST_F(Phases, EachCanBeResumedFromItsDump) {
  auto whole = compile(model, {.dumpDir = folder});
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->reached, Phase::Serialize);
  std::string scheduled = read(dumpOf(Phase::Schedule));
  for (unsigned i = 0; i < unsigned(Phase::Schedule); ++i) {
    auto resumed = compile(model, {.stopAfter = Phase::Schedule, .startFrom = dumpOf(Phase(i))});
    ASSERT_TRUE(resumed) << phaseNames[i];
    EXPECT_EQ(resumed->ir, scheduled) << "resumed after " << phaseNames[i];
  }
  auto serialised = compile(model, {.startFrom = dumpOf(Phase::Codegen)});
  ASSERT_TRUE(serialised);
  std::vector<float> reference = logitsOf(*whole);
  ASSERT_FALSE(reference.empty());
  EXPECT_EQ(logitsOf(*serialised), reference);
}

TEST_F(Phases, AnEditBetweenTwoPhasesChangesTheOutput) {
  auto whole = compile(model, {.dumpDir = folder});
  ASSERT_TRUE(whole);
  std::vector<float> reference = logitsOf(*whole);
  struct Edit {
    Phase phase;
    std::string from, to;
  };
  // Fewer layers, then another epsilon in a kernel's constants.
  for (const Edit &edit : {Edit{Phase::Fuse, "layers 0 to 2", "layers 0 to 1"},
                           Edit{Phase::Schedule, "eps = 1.000000e-05", "eps = 5.000000e-01"}}) {
    std::string text = read(dumpOf(edit.phase));
    size_t at = text.find(edit.from);
    ASSERT_NE(at, text.npos) << edit.from << " in\n" << text;
    text.replace(at, edit.from.size(), edit.to);
    std::string path = folder + "/edited.mlir";
    std::ofstream(path) << text;
    auto edited = compile(model, {.startFrom = path});
    ASSERT_TRUE(edited);
    EXPECT_NE(logitsOf(*edited), reference) << "edited after " << phaseName(edit.phase);
  }
}

TEST_F(Phases, AnInvalidEditIsAModelErrorWithItsLine) {
  ASSERT_TRUE(compile(model, {.stopAfter = Phase::Schedule, .dumpDir = folder}));
  std::string text = read(dumpOf(Phase::Schedule)), path = folder + "/edited.mlir";
  size_t at = text.find("plan.kernel @");
  ASSERT_NE(at, text.npos);
  text.replace(at, 13, "plan.kernel @no_");
  std::ofstream(path) << text;
  Result<CompiledPlan> edited = compileModel(model, {.startFrom = path});
  ASSERT_FALSE(edited);
  EXPECT_EQ(edited.error().kind, ErrorKind::Model);
  EXPECT_NE(edited.error().message.find("which is no kernel of the program"), std::string::npos)
      << edited.error().message;
  EXPECT_NE(edited.error().message.find("edited.mlir:"), std::string::npos) << edited.error().message;
}

TEST_F(Phases, CancellingLeavesNothing) {
  Result<CompiledPlan> plan = compileModel(
      model, {.progress = [](std::string_view phase, double) { return phase != "plan-memory"; }});
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().kind, ErrorKind::Resource);
}

TEST_F(Phases, ReusedBuffersSaveMemory) {
  auto session = open(compiledGolden("llama"));
  ASSERT_TRUE(session);
  uint64_t used = 0;
  for (const plan::Buffer &buffer : session->program().buffers)
    if (buffer.extent == plan::Extent::Tokens)
      used = std::max(used, buffer.offsetPerUnit + buffer.bytesPerUnit);
  uint64_t unreused = session->program().arenaUnreused[unsigned(plan::Extent::Tokens)];
  EXPECT_LT(used, unreused / 2);
}

} // namespace
