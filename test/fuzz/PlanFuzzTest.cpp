// Damaged plans whose checksums are right: the reader must refuse them or give a program that the executor
// can trust. Code is never run here.
#include "runtime/plan/PlanFile.h"
#include "runtime/plan/PlanLayout.h"
#include "runtime/session/Memory.h"
#include "runtime/session/Session.h"
#include "runtime/weights/Recipe.h"
#include "support/Hash.h"
#include "test/fuzz/AllocationMeter.h"
#include "test/fuzz/MutationFuzzer.h"
#include "test/unit/runtime/ToyModel.h"

#include <cstring>
#include <gtest/gtest.h>

using namespace fusebox;
using namespace fusebox::plan;

namespace {

/// The toy's program with a weight that goes through all recipe ops, and a module.
Program richProgram() {
  Program program = toy::ToyModel().program("weights.bin");
  Weight made = program.weights[0];
  made.name = "made";
  made.recipe = {{RecipeOpKind::Widen, {int64_t(DType::F32)}},
                 {RecipeOpKind::UnpermuteRope, {4}},
                 {RecipeOpKind::Slice, {0, 8}},
                 {RecipeOpKind::Scale, {1}},
                 {RecipeOpKind::AddOne, {}},
                 {RecipeOpKind::Concatenate, {}},
                 {RecipeOpKind::Interleave, {2}}};
  made.bytes = 8 * toy::hidden * sizeof(float);
  program.constants.push_back({"scales", std::vector<std::byte>(8 * sizeof(float))});
  program.weights.push_back(made);
  program.modules = {{"module", "source", {"-O3"}, {{"sm_90a", std::vector<std::byte>(32)}}}};
  return program;
}

fuzz::Bytes planBytes(const Program &program) { return toy::ToyModel().writer(program).encode(); }

/// Makes header and sections agree with their checksums again, wherever the table can be found.
void repair(fuzz::Bytes &plan) {
  FileHeader header;
  if (plan.size() < sizeof(header))
    return;
  std::memcpy(&header, plan.data(), sizeof(header));
  std::memcpy(header.magic, fileMagic, sizeof(fileMagic));
  header.endian = endianMark;
  header.version = formatVersion;
  header.reserved = 0;
  header.fileSize = plan.size();
  header.sections =
      uint32_t(std::min<size_t>(header.sections, (plan.size() - sizeof(header)) / sizeof(TableEntry)));
  header.sections = std::min(header.sections, maxSections);
  for (uint32_t i = 0; i < header.sections; ++i) {
    std::byte *at = plan.data() + sizeof(header) + i * sizeof(TableEntry);
    TableEntry entry;
    std::memcpy(&entry, at, sizeof(entry));
    if (entry.offset <= plan.size() && entry.size <= plan.size() - entry.offset)
      entry.checksum = hash64(std::span(plan).subspan(entry.offset, entry.size));
    std::memcpy(at, &entry, sizeof(entry));
  }
  header.checksum = 0;
  std::memcpy(plan.data(), &header, sizeof(header));
  size_t head = sizeof(header) + header.sections * sizeof(TableEntry);
  header.checksum = hash64(std::span(plan).first(head));
  std::memcpy(plan.data(), &header, sizeof(header));
}

/// Everything that a session does before it touches weights or code.
bool prepare(const Program &program) {
  if (!checkRecipes(program))
    return false;
  Device device;
  device.sharesHostMemory = true;
  SessionOptions options;
  return bool(planMemory(program, device, uint64_t(1) << 40, options));
}

/// Reads all there is to read; returns how far the plan got: 0 refused, 1 opened, 2 a program was decoded.
int consume(fuzz::Bytes plan) {
  auto reader = PlanReader::fromBytes(std::move(plan), "plan");
  if (!reader)
    return 0;
  int reached = 1;
  for (const Section &section : reader->sections()) {
    auto bytes = reader->read(section);
    if (section.kind != SectionKind::Program)
      continue;
    if (auto program = reader->readProgram(section)) {
      reached = 2;
      prepare(*program);
    }
  }
  (void)reader->embeddedWeights();
  return reached;
}

} // namespace

TEST(PlanFuzz, SeedsAreSound) {
  EXPECT_EQ(consume(planBytes(richProgram())), 2);
  EXPECT_TRUE(prepare(richProgram()));
}

TEST(PlanFuzz, DamagedFilesAreRefused) {
  std::vector<fuzz::Bytes> seeds = {planBytes(richProgram()),
                                    planBytes(toy::ToyModel().program("weights.bin"))};
  fuzz::fuzzMutations(seeds,
                      [&](std::span<const std::byte> input) { consume({input.begin(), input.end()}); });
}

TEST(PlanFuzz, DamagedFilesWithRightChecksumsAreRefusedOrSoundInBoundedMemory) {
  std::vector<fuzz::Bytes> seeds = {planBytes(richProgram()),
                                    planBytes(toy::ToyModel().program("weights.bin"))};
  uint64_t opened = 0;
  fuzz::fuzzMutations(seeds, [&](std::span<const std::byte> input) {
    fuzz::Bytes plan(input.begin(), input.end());
    repair(plan);
    size_t size = plan.size();
    uint64_t peak = fuzz::peakOf([&] { opened += consume(std::move(plan)) > 0; });
    ASSERT_LT(peak, 64 * size + (1 << 20));
  });
  EXPECT_GT(opened, fuzz::Options().iterations / 10) << "the repair reaches behind the header";
}

TEST(PlanFuzz, DamagedProgramsAreRefusedOrSoundInBoundedMemory) {
  std::vector<fuzz::Bytes> seeds = {encodeProgram(richProgram()),
                                    encodeProgram(toy::ToyModel().program("w"))};
  uint64_t sound = 0;
  fuzz::fuzzMutations(seeds, [&](std::span<const std::byte> input) {
    uint64_t peak = fuzz::peakOf([&] {
      if (auto program = decodeProgram(input)) {
        ++sound;
        prepare(*program);
      }
    });
    ASSERT_LT(peak, 64 * input.size() + (1 << 20));
  });
  EXPECT_GT(sound, 0u) << "some damage is harmless, so that what follows decoding is reached";
}
