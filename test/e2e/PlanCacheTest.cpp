// Plans of models that are run by name: made once, found again, made anew when anything they depend on
// changes.
#include "PlanModel.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include <unistd.h>

using namespace fusebox;
using namespace fusebox::test;
namespace fs = std::filesystem;

namespace {

class PlanCache : public testing::Test {
protected:
  std::string folder = testing::TempDir() + "fusebox-plan-cache-" + std::to_string(getpid());
  std::string model = folder + "/model";

  void SetUp() override {
    fs::create_directories(folder);
    fs::copy(golden("llama"), model);
    setenv("XDG_CACHE_HOME", (folder + "/cache").c_str(), 1);
  }
  void TearDown() override {
    unsetenv("XDG_CACHE_HOME");
    fs::remove_all(folder);
  }

  std::string cached(const CompileOptions &options = {}) {
    Result<std::string> plan = cachedPlan(model, options);
    EXPECT_TRUE(plan) << plan.error().message;
    return plan ? *plan : "";
  }
};

TEST_F(PlanCache, FindsAPlanMadeBefore) {
  std::string plan = cached();
  ASSERT_TRUE(fs::exists(plan));
  auto written = fs::last_write_time(plan);
  EXPECT_EQ(cached(), plan);
  EXPECT_EQ(fs::last_write_time(plan), written);
  EXPECT_TRUE(plan::PlanReader::open(plan));
}

TEST_F(PlanCache, ChangedContentMakesAnotherPlan) {
  std::string plan = cached();
  std::string config = model + "/config.json";
  std::ofstream(config, std::ios::app) << "\n";
  EXPECT_NE(cached(), plan);
}

TEST_F(PlanCache, OptionsThatShapeThePlanMakeAnotherPlan) {
  std::string plan = cached();
  EXPECT_NE(cached({.dtype = DType::F32}), plan);
}

TEST_F(PlanCache, WithoutAFolderSaysWhatToDo) {
  setenv("XDG_CACHE_HOME", "/proc/no-such-folder", 1);
  Result<std::string> plan = cachedPlan(model);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().kind, ErrorKind::Resource);
}

} // namespace
