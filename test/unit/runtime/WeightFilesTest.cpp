#include "runtime/weights/WeightFiles.h"

#include "runtime/session/Session.h"
#include "support/AtomicFile.h"
#include "support/Hash.h"
#include "test/unit/runtime/ToyModel.h"

#include <cstdlib>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace fusebox;
using namespace fusebox::toy;
using testing::HasSubstr;

namespace {

class WeightFilesTest : public testing::Test {
protected:
  TemporaryFolder folder, cache;
  ToyModel model;
  std::string planPath = model.write(folder);

  void SetUp() override { setenv("XDG_CACHE_HOME", cache.file("").c_str(), 1); }
  std::string openError(const SessionOptions &options = {}) {
    auto session = Session::open(planPath, options);
    EXPECT_FALSE(session);
    EXPECT_EQ(session ? ErrorKind::Internal : session.error().kind, ErrorKind::Model);
    return session ? "" : session.error().message;
  }
  /// Moves a file's times into the past, past the age at which a hash is remembered.
  static void settle(const std::string &path) {
    // The change time can't be set: wait for it.
    timespec times[2] = {{1000, 0}, {1000, 0}};
    ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(2050));
  }
  /// Concurrent runs, each of which sees the right hash every time.
  void hashInManyProcesses(const std::string &path) {
    std::vector<pid_t> children;
    for (int i = 0; i < 6; ++i) {
      pid_t child = fork();
      if (child == 0) {
        bool right = true;
        for (int repeat = 0; repeat < 30; ++repeat) {
          auto hash = contentHash(*MappedFile::open(path), repeat % 2 ? HashMemo::Use : HashMemo::Rehash);
          right &= hash && *hash == model.program("").files[0].contentHash;
        }
        _exit(right ? 0 : 1);
      }
      children.push_back(child);
    }
    for (pid_t child : children) {
      int status = -1;
      waitpid(child, &status, 0);
      EXPECT_EQ(status, 0);
    }
  }
  size_t remembered() const {
    std::error_code none;
    size_t count = 0;
    for ([[maybe_unused]] auto &each :
         std::filesystem::directory_iterator(cache.file("fusebox/hashes"), none))
      ++count;
    return count;
  }
};

} // namespace

TEST_F(WeightFilesTest, MissingFileIsNamedWithWhatWasExpectedAndTheRemedy) {
  std::filesystem::remove(folder.file("weights.bin"));
  std::string error = openError();
  EXPECT_THAT(error, HasSubstr(folder.file("weights.bin")));
  EXPECT_THAT(error, HasSubstr(std::to_string(model.weightFile().size()) + " bytes"));
  EXPECT_THAT(error, HasSubstr(hash128(model.weightFile())));
  EXPECT_THAT(error, HasSubstr("--weights-dir"));
}

TEST_F(WeightFilesTest, WeightsDirIsWhereFilesAreLookedFor) {
  TemporaryFolder other;
  std::filesystem::rename(folder.file("weights.bin"), other.file("weights.bin"));
  SessionOptions options;
  options.weights.weightsDir = other.file("");
  EXPECT_TRUE(Session::open(planPath, options));
}

TEST_F(WeightFilesTest, ChangedSizeAndChangedContentAreToldApart) {
  auto bytes = model.weightFile();
  bytes.push_back(std::byte(0));
  ASSERT_TRUE(writeFileAtomically(folder.file("weights.bin"), bytes));
  EXPECT_THAT(openError(), HasSubstr("has " + std::to_string(bytes.size()) + " bytes, but the plan"));
  bytes.pop_back();
  bytes[5] ^= std::byte(1);
  ASSERT_TRUE(writeFileAtomically(folder.file("weights.bin"), bytes));
  EXPECT_THAT(openError(), HasSubstr("has changed (its hash is " + hash128(bytes)));
}

TEST_F(WeightFilesTest, DamagedEmbeddedWeightsAreFound) {
  plan::Program program = model.program("weights.bin");
  program.files[0].embedded = true;
  auto writer = model.writer(program);
  writer.setEmbeddedWeights({*MappedFile::open(folder.file("weights.bin"))});
  auto bytes = writer.encode();
  bytes.back() ^= std::byte(1);
  ASSERT_TRUE(writeFileAtomically(planPath, bytes));
  EXPECT_THAT(openError(), HasSubstr("embedded in the plan are damaged"));
}

TEST_F(WeightFilesTest, HashIsRememberedOnceTheFileHasSettled) {
  std::string path = folder.file("weights.bin");
  ASSERT_TRUE(contentHash(*MappedFile::open(path)));
  EXPECT_EQ(remembered(), 0u) << "the file is younger than 2 s";
  settle(path);
  hashInManyProcesses(path);
  EXPECT_EQ(remembered(), 1u) << "one entry, no temporary file";
  auto first = contentHash(*MappedFile::open(path));
  ASSERT_TRUE(first);
  EXPECT_EQ(*first, hash128(model.weightFile()));
  auto second = contentHash(*MappedFile::open(path));
  ASSERT_TRUE(second);
  EXPECT_EQ(*second, *first);
  // A new content under the same name has another identity.
  auto bytes = model.weightFile();
  bytes[0] ^= std::byte(1);
  ASSERT_TRUE(writeFileAtomically(path, bytes));
  auto third = contentHash(*MappedFile::open(path));
  ASSERT_TRUE(third);
  EXPECT_EQ(*third, hash128(bytes));
}
