#include "runtime/plan/Program.h"

#include "test/unit/runtime/ToyModel.h"

#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace fusebox;
using namespace fusebox::plan;
using testing::HasSubstr;

TEST(Program, DecodesToWhatWasEncoded) {
  Program program = toy::ToyModel().program("weights.bin");
  Module module = {"m", "source", {"-O3"}, {{"sm_90a", {std::byte(1), std::byte(2)}}}};
  program.modules = {module};
  program.arenaUnreused[1] = 77;
  toy::addLoopVariants(program);
  std::vector<std::byte> bytes = encodeProgram(program);
  auto decoded = decodeProgram(bytes);
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(encodeProgram(*decoded), bytes);
  EXPECT_EQ(decoded->weights[1].instances[2].sources[0].offset,
            program.weights[1].instances[2].sources[0].offset);
  EXPECT_EQ(decoded->modules[0].cubins[0].chip, "sm_90a");
  EXPECT_EQ(decoded->arenaUnreused[1], 77u);
  EXPECT_EQ(decoded->schedule[2].block, "decoder");
  const Variant &loop = decoded->launches[2].variants[0];
  EXPECT_TRUE(loop.loop && !decoded->launches[2].variants[1].loop);
  EXPECT_EQ(loop.belowKeys, 100u);
  EXPECT_EQ(loopBlocks(decoded->launches[2]), 4u);
  EXPECT_EQ(loopBlocks(decoded->launches[3]), 0u);
}

TEST(Program, EveryPrefixIsRefused) {
  std::vector<std::byte> bytes = encodeProgram(toy::ToyModel().program("weights.bin"));
  for (size_t size = 0; size < bytes.size(); ++size) {
    auto decoded = decodeProgram(std::span(bytes).first(size));
    ASSERT_FALSE(decoded) << size;
    EXPECT_EQ(decoded.error().kind, ErrorKind::Model);
  }
  bytes.push_back(std::byte(0));
  EXPECT_FALSE(decodeProgram(bytes));
}

TEST(Program, ErrorsNameTheField) {
  Program program = toy::ToyModel().program("weights.bin");
  program.weights[1].recipe = {{RecipeOpKind(200), {}}};
  auto decoded = decodeProgram(encodeProgram(program));
  ASSERT_FALSE(decoded);
  EXPECT_THAT(decoded.error().message,
              HasSubstr("program.weights[1].recipe[0].kind: value 200 is not known"));
}

using Break = std::function<void(Program &)>;

/// Each break, of a rule that the executor relies on, is refused with those words.
static void expectRefused(const Program &sound, std::span<const std::pair<const char *, Break>> breaks) {
  for (const auto &[words, breakIt] : breaks) {
    Program program = sound;
    breakIt(program);
    auto decoded = decodeProgram(encodeProgram(program));
    ASSERT_FALSE(decoded) << words;
    EXPECT_EQ(decoded.error().kind, ErrorKind::Model);
    EXPECT_THAT(decoded.error().message, HasSubstr(words));
  }
}

TEST(Program, InconsistenciesAreRefused) {
  const std::pair<const char *, Break> breaks[] = {
      {"vocabulary", [](Program &p) { p.model.vocabulary = 0; }},
      {"no target", [](Program &p) { p.targets.clear(); }},
      {"one kind", [](Program &p) { p.targets.push_back({TargetKind::Cuda, "sm_90a", ""}); }},
      {"one image", [](Program &p) { p.images.clear(); }},
      {"32 hex digits", [](Program &p) { p.files[0].contentHash = "xyz"; }},
      {"outside its file", [](Program &p) { p.weights[0].instances[0].sources[0].offset = p.files[0].size; }},
      {"outside its file", [](Program &p) { p.weights[0].instances[0].sources[0].offset = UINT64_MAX; }},
      {"file that does not exist", [](Program &p) { p.weights[0].instances[0].sources[0].file = 9; }},
      {"shape and dtype", [](Program &p) { p.weights[0].instances[0].sources[0].shape = {-1, -640}; }},
      {"shape and dtype",
       [](Program &p) { p.weights[0].instances[0].sources[0].shape = {INT64_MAX, INT64_MAX}; }},
      {"no instance", [](Program &p) { p.weights[0].instances.clear(); }},
      {"no source", [](Program &p) { p.weights[0].instances[0].sources.clear(); }},
      {"Scale", [](Program &p) { p.weights[0].recipe = {{RecipeOpKind::Scale, {7}}}; }},
      {"total size", [](Program &p) { p.weights[0].bytes = UINT64_MAX; }},
      {"offsetPerUnit", [](Program &p) { p.buffers[0].offsetPerUnit = UINT64_MAX; }},
      {"pageTokens", [](Program &p) { p.kvCaches[0].pageTokens = 32; }},
      {"codeBytes", [](Program &p) { p.images[0].codeBytes = p.images[0].bytes.size() + 1; }},
      {"entry", [](Program &p) { p.kernels[0].entry = p.images[0].codeBytes; }},
      {"no variant", [](Program &p) { p.launches[0].variants.clear(); }},
      {"ascending", [](Program &p) { p.launches[0].variants[0].maxRows = 0; }},
      {"any number of rows", [](Program &p) { p.launches[0].variants.back().maxRows = 8; }},
      {"kernel that does not exist", [](Program &p) { p.launches[0].variants[0].kernel = 99; }},
      {"few or of many keys", [](Program &p) { p.launches[0].variants[0].minKeys = 9; }},
      {"few or of many keys", [](Program &p) { p.launches[0].variants[0].belowKeys = 9; }},
      {"number of rows and keys", [](Program &p) { p.launches[0].variants.back().belowKeys = 9; }},
      {"tile", [](Program &p) { p.launches[0].variants[0].grid[1].tile = 0; }},
      {"count", [](Program &p) { p.launches[0].variants[0].grid[2].count = UINT32_MAX; }},
      {"argument does not exist", [](Program &p) { p.launches[0].args[0].index = 99; }},
      {"not in a buffer", [](Program &p) { p.launches[0].values[0].arg = 1; }},
      {"outside its buffer", [](Program &p) { p.launches[0].values[0].columns = 17; }},
      {"nest", [](Program &p) { p.schedule.insert(p.schedule.begin() + 3, p.schedule[2]); }},
      {"never began", [](Program &p) { p.schedule[0].kind = InstructionKind::LoopEnd; }},
      {"not ended", [](Program &p) { p.schedule.erase(p.schedule.begin() + 6); }},
      {"past the last layer", [](Program &p) { p.schedule[2].count = 4; }},
      {"launch does not exist", [](Program &p) { p.schedule[0].launch = 99; }},
      {"its layers don't have", [](Program &p) { p.weights[1].firstLayer = 1; }},
      {"its layers don't have", [](Program &p) { p.kvCaches[0].layers = 2; }},
      {"its layers don't have", [](Program &p) { p.schedule[0].launch = 2; }},
      {"logitsBuffer", [](Program &p) { p.logitsBuffer = 0; }},
      {"device", [](Program &p) { p.launches[0].device = 1; }},
  };
  expectRefused(toy::ToyModel().program("weights.bin"), breaks);
}

TEST(Program, InconsistentLoopVariantsAreRefused) {
  auto removeFirst = [](std::vector<Variant> &variants) { variants.erase(variants.begin()); };
  Program program = toy::ToyModel().program("weights.bin");
  toy::addLoopVariants(program);
  const std::pair<const char *, Break> breaks[] = {
      {"any number of rows", [](Program &p) { p.launches[2].variants.resize(1); }},
      {"not the first", [](Program &p) { p.launches[2].variants.back().loop = true; }},
      {"not fixed", [](Program &p) { p.launches[2].variants[0].grid[0].extent = Extent::Tokens; }},
      {"not all launches", [&](Program &p) { removeFirst(p.launches[3].variants); }},
      {"not all launches", [&](Program &p) { removeFirst(p.launches[2].variants); }},
      {"different steps", [](Program &p) { p.launches[3].variants[0].maxRows = 2; }},
      {"different steps", [](Program &p) { p.launches[3].variants[0].minKeys = 2; }},
      {"different steps", [](Program &p) { p.launches[3].variants[0].belowKeys = 0; }},
      {"different steps", [](Program &p) { p.launches[3].rows = Extent::Sequences; }},
      {"must have the kernel", [](Program &p) { p.launches[2].variants[0].grid[0].count = 0; }},
      {"must have the kernel", [](Program &p) { p.launches[3].variants[0].grid[0].count = 1; }},
      {"outside loops", [](Program &p) { toy::addLoopVariant(p.launches[0], 1); }},
  };
  expectRefused(program, breaks);
}
