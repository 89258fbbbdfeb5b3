#include "runtime/plan/PlanFile.h"

#include "runtime/plan/PlanLayout.h"
#include "support/AtomicFile.h"
#include "support/Hash.h"
#include "test/unit/runtime/ToyModel.h"

#include <csignal>
#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

using namespace fusebox;
using namespace fusebox::plan;
using testing::HasSubstr;

namespace {

std::vector<std::byte> toyPlan() {
  toy::ToyModel model;
  return model.writer(model.program("weights.bin")).encode();
}

Error openError(std::vector<std::byte> bytes) {
  auto reader = PlanReader::fromBytes(std::move(bytes), "toy.plan");
  EXPECT_FALSE(reader);
  return reader ? Error{} : reader.error();
}

template <typename T> void put(std::vector<std::byte> &bytes, size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(value));
}

} // namespace

TEST(PlanFile, SectionsComeBackAsTheyWere) {
  auto reader = PlanReader::fromBytes(toyPlan(), "toy.plan");
  ASSERT_TRUE(reader) << reader.error().message;
  EXPECT_EQ(reader->sections().size(), 5u);
  const Section *program = reader->find(SectionKind::Program);
  ASSERT_TRUE(program);
  EXPECT_EQ(program->name, "cpu:x86-64");
  auto decoded = reader->readProgram(*program);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->model.name, "toy");
  const Section *ir = reader->find(SectionKind::LayerIr, "import");
  ASSERT_TRUE(ir);
  auto text = reader->readText(*ir);
  ASSERT_TRUE(text);
  EXPECT_EQ(*text, "layer.block @decoder {\n}\n");
  EXPECT_FALSE(reader->find(SectionKind::LayerIr, "fuse"));
  EXPECT_FALSE(reader->find(SectionKind::Weights));
}

TEST(PlanFile, WrittenFileIsTheEncodedBytes) {
  toy::TemporaryFolder folder;
  std::string path = toy::ToyModel().write(folder);
  auto file = MappedFile::open(path);
  ASSERT_TRUE(file);
  auto expected = toyPlan();
  EXPECT_TRUE(std::ranges::equal(file->bytes(), expected));
  EXPECT_TRUE(PlanReader::open(path));
}

TEST(PlanFile, EachKindOfTroubleHasItsOwnMessage) {
  const auto good = toyPlan();
  auto plan = good;
  put(plan, 0, 'X');
  EXPECT_THAT(openError(plan).message, HasSubstr("toy.plan: not a Fusebox plan"));
  EXPECT_THAT(openError({}).message, HasSubstr("not a Fusebox plan"));

  plan = good;
  put(plan, offsetof(FileHeader, endian), __builtin_bswap32(endianMark));
  EXPECT_THAT(openError(plan).message, HasSubstr("other byte order"));

  plan = good;
  put(plan, offsetof(FileHeader, version), formatVersion + 1);
  EXPECT_THAT(openError(plan).message,
              HasSubstr("reads format " + std::to_string(formatVersion) + "; update it"));
  put(plan, offsetof(FileHeader, version), 0);
  EXPECT_THAT(openError(plan).message, HasSubstr("older"));

  for (size_t size :
       {good.size() - 1, good.size() / 2, sizeof(FileHeader), sizeof(FileHeader) - 1, size_t(9)}) {
    plan.assign(good.begin(), good.begin() + ptrdiff_t(size));
    EXPECT_THAT(openError(plan).message, HasSubstr("truncated")) << size;
  }
  plan = good;
  plan.push_back(std::byte(0));
  EXPECT_THAT(openError(plan).message, HasSubstr("damaged"));
  plan = good;
  put(plan, sizeof(FileHeader) + 3, 'X');
  EXPECT_THAT(openError(plan).message, HasSubstr("checksum of header and section table"));
}

TEST(PlanFile, DamageInASectionIsFoundWhenItIsRead) {
  const auto good = toyPlan();
  for (size_t i = 0; i < 5; ++i) {
    auto reader = PlanReader::fromBytes(good, "toy.plan");
    Section section = reader->sections()[i];
    auto plan = good;
    plan[section.offset + section.size / 2] ^= std::byte(1);
    auto damaged = PlanReader::fromBytes(plan, "toy.plan");
    ASSERT_TRUE(damaged);
    auto bytes = damaged->read(damaged->sections()[i]);
    ASSERT_FALSE(bytes);
    EXPECT_THAT(bytes.error().message, HasSubstr(std::string(sectionKindName(section.kind))));
  }
}

TEST(PlanFile, SectionsThatClaimToBeHugeAreRefusedBeforeMemoryIsTaken) {
  auto plan = toyPlan();
  size_t entry = sizeof(FileHeader) + 1 * sizeof(TableEntry); // layer IR, compressed
  put(plan, entry + offsetof(TableEntry, uncompressedSize), uint64_t(1) << 60);
  put(plan, offsetof(FileHeader, checksum), uint64_t(0));
  size_t head = sizeof(FileHeader) + 5 * sizeof(TableEntry);
  put(plan, offsetof(FileHeader, checksum), hash64(std::span(plan).first(head)));
  auto reader = PlanReader::fromBytes(plan, "toy.plan");
  ASSERT_TRUE(reader) << reader.error().message;
  auto bytes = reader->read(*reader->find(SectionKind::LayerIr));
  ASSERT_FALSE(bytes);
  EXPECT_THAT(bytes.error().message, HasSubstr("too many"));
}

TEST(PlanFile, EmbeddedFilesAreAlignedAndWhereTheOffsetsSay) {
  toy::TemporaryFolder folder;
  std::vector<std::byte> first(100, std::byte(1)), second(10, std::byte(2));
  ASSERT_TRUE(writeFileAtomically(folder.file("a"), first));
  ASSERT_TRUE(writeFileAtomically(folder.file("b"), second));
  PlanWriter writer;
  writer.setEmbeddedWeights({*MappedFile::open(folder.file("a")), *MappedFile::open(folder.file("b"))});
  auto reader = PlanReader::fromBytes(writer.encode(), "toy.plan");
  ASSERT_TRUE(reader) << reader.error().message;
  auto offsets = PlanWriter::embeddedOffsets(std::vector<uint64_t>{100, 10});
  EXPECT_THAT(offsets, testing::ElementsAre(0u, 128u));
  auto weights = reader->embeddedWeights();
  ASSERT_EQ(weights.size(), 138u);
  EXPECT_TRUE(std::ranges::equal(weights.subspan(128, 10), second));
  EXPECT_EQ(reader->find(SectionKind::Weights)->offset % 64, 0u);
  EXPECT_TRUE(reader->read(*reader->find(SectionKind::Weights))) << "the checksum covers the padding";
}

TEST(PlanFile, FullDiskLeavesNothingBehind) {
  toy::TemporaryFolder folder;
  std::string path = toy::ToyModel().write(folder);
  auto before = *MappedFile::open(path);
  // A limit on the size of files stands in for a full disk.
  rlimit old;
  getrlimit(RLIMIT_FSIZE, &old);
  rlimit small = {1024, old.rlim_max};
  auto handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  toy::ToyModel model;
  auto written = model.writer(model.program("other.bin")).write(path);
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind, ErrorKind::Resource);
  EXPECT_THAT(written.error().message, HasSubstr("nothing was left behind"));
  EXPECT_TRUE(std::ranges::equal(MappedFile::open(path)->bytes(), before.bytes()));
  size_t files = 0;
  for ([[maybe_unused]] auto &each :
       std::filesystem::directory_iterator(std::filesystem::path(path).parent_path()))
    ++files;
  EXPECT_EQ(files, 2u) << "plan and weights, no temporary file";
}
