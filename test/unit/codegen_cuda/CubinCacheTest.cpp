// Kernels compiled at load: progress, cancelling, and a cache that knows sources and options apart.
#include "runtime/cuda/CubinCache.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

using namespace fusebox;
using namespace fusebox::cuda;

namespace {

class CubinCache : public testing::Test {
protected:
  void SetUp() override {
    ASSERT_TRUE(mkdtemp(folder));
    setenv("XDG_CACHE_HOME", folder, 1);
  }
  void TearDown() override { std::filesystem::remove_all(folder); }

  size_t cached() const {
    std::filesystem::path cubins = std::filesystem::path(folder) / "fusebox/cubins";
    return size_t(std::distance(std::filesystem::directory_iterator(cubins), {}));
  }

  char folder[32] = "/tmp/fusebox-cubins-XXXXXX";
  std::vector<KernelText> kernels = {
      {"a", "extern \"C\" __global__ void a(int *p) { *p = VALUE; }\n", {"-DVALUE=1"}},
      {"b", "extern \"C\" __global__ void b(int *p) { *p = 2; }\n"},
      {"c", "extern \"C\" __global__ void c(int *p) { *p = 3; }\n"}};
};

} // namespace

TEST_F(CubinCache, ProgressGrowsToTheWhole) {
  std::vector<double> shares;
  auto cubins = compileCubins(kernels, "sm_80", 2, [&](std::string_view stage, double fraction) {
    EXPECT_EQ(stage, "compiling kernels for sm_80");
    shares.push_back(fraction);
    return true;
  });
  ASSERT_TRUE(cubins) << cubins.error().message;
  EXPECT_EQ(shares, (std::vector<double>{1.0 / 3, 2.0 / 3, 1}));
  auto again = compileCubins(kernels, "sm_80", 2);
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, *cubins);
  EXPECT_EQ(cached(), 3u);
}

TEST_F(CubinCache, OptionsAndChipsAreKeptApart) {
  ASSERT_TRUE(compileCubins({kernels.data(), 1}, "sm_80", 1));
  KernelText other = kernels[0];
  other.options = {"-DVALUE=7"};
  auto cubins = compileCubins({&other, 1}, "sm_80", 1);
  ASSERT_TRUE(cubins) << cubins.error().message;
  EXPECT_NE((*cubins)[0], (*compileCubins({kernels.data(), 1}, "sm_80", 1))[0]);
  ASSERT_TRUE(compileCubins({kernels.data(), 1}, "sm_89", 1));
  EXPECT_EQ(cached(), 3u);
}

TEST_F(CubinCache, CancellingEndsWithAnError) {
  auto cubins = compileCubins(kernels, "sm_80", 1, [](std::string_view, double) { return false; });
  ASSERT_FALSE(cubins);
  EXPECT_EQ(cubins.error().kind, ErrorKind::Resource);
  EXPECT_EQ(cached(), 1u);
}

TEST_F(CubinCache, AWrongSourceIsNamedWithTheCompilersWords) {
  KernelText wrong = {"wrong", "extern \"C\" __global__ void wrong() { nonsense; }\n"};
  auto cubins = compileCubins({&wrong, 1}, "sm_80", 1);
  ASSERT_FALSE(cubins);
  EXPECT_NE(cubins.error().message.find("NVRTC can't compile wrong.cu for sm_80"), std::string::npos);
  EXPECT_NE(cubins.error().message.find("nonsense"), std::string::npos);
}
