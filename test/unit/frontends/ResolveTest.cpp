#include "frontends/Resolve.h"
#include "test/unit/frontends/TestFiles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

using namespace fusebox;
using namespace fusebox::test;
using testing::HasSubstr;

namespace {

/// A cache with one model of two revisions, as huggingface_hub lays it out, and the environment without
/// others.
class Resolve : public testing::Test {
protected:
  void SetUp() override {
    for (const char *name : {"HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"})
      unsetenv(name);
    setenv("HOME", home.path().c_str(), 1);
  }

  void makeCache(const std::string &folder) {
    std::string model = folder + "/models--org--name";
    home.write(model + "/refs/main", "aaaa");
    home.write(model + "/refs/v2", "bbbb\n");
    std::string blob = home.write(model + "/blobs/0123", "{}");
    home.write(model + "/snapshots/aaaa/README.md", "");
    home.write(model + "/snapshots/bbbb/README.md", "");
    std::filesystem::create_symlink("../../blobs/0123", home.path(model + "/snapshots/aaaa/config.json"));
  }

  TemporaryFolder home;
};

TEST_F(Resolve, TakesAPathThatExists) {
  std::string file = home.write("model.gguf", "");
  EXPECT_EQ(*resolveModel(file), file);
  EXPECT_EQ(*resolveModel(home.path()), home.path());
}

TEST_F(Resolve, FindsANameInEachOfTheCachesPlaces) {
  makeCache(".cache/huggingface/hub");
  std::string found = home.path(".cache/huggingface/hub/models--org--name/snapshots/aaaa");
  EXPECT_EQ(*resolveModel("org/name"), found);
  EXPECT_EQ(readText(*resolveModel("org/name") + "/config.json"), "{}") << "through the symbolic link";
  makeCache("xdg/huggingface/hub");
  setenv("XDG_CACHE_HOME", home.path("xdg").c_str(), 1);
  EXPECT_THAT(*resolveModel("org/name"), HasSubstr("/xdg/"));
  makeCache("hf/hub");
  setenv("HF_HOME", home.path("hf").c_str(), 1);
  EXPECT_THAT(*resolveModel("org/name"), HasSubstr("/hf/"));
  makeCache("direct");
  setenv("HF_HUB_CACHE", home.path("direct").c_str(), 1);
  EXPECT_THAT(*resolveModel("org/name"), HasSubstr("/direct/"));
}

TEST_F(Resolve, TakesABranchOrACommit) {
  makeCache(".cache/huggingface/hub");
  EXPECT_THAT(*resolveModel("org/name@v2"), HasSubstr("/snapshots/bbbb"));
  EXPECT_THAT(*resolveModel("org/name@bbbb"), HasSubstr("/snapshots/bbbb"));
}

TEST_F(Resolve, SaysWhereItLookedAndWhatToDo) {
  makeCache(".cache/huggingface/hub");
  auto errorOf = [](const char *model) {
    Result<std::string> path = resolveModel(model);
    return path ? "no error: " + *path : path.error().message;
  };
  EXPECT_THAT(errorOf("org/other"), HasSubstr("models--org--other"));
  EXPECT_THAT(errorOf("org/other"), HasSubstr("huggingface-cli download org/other"));
  EXPECT_THAT(errorOf("org/name@v3"), HasSubstr("'v3'"));
  EXPECT_THAT(errorOf("nothing"), HasSubstr("no such folder or file"));
  EXPECT_THAT(errorOf("a/../b"), HasSubstr("no such folder or file"));
  EXPECT_THAT(errorOf("../.."), testing::Not(HasSubstr("models--")));
  home.write(".cache/huggingface/hub/models--org--name/refs/evil", "../../..");
  EXPECT_THAT(errorOf("org/name@evil"), HasSubstr("no snapshot"));
}

} // namespace
