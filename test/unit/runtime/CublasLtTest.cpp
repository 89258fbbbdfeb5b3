// cuBLASLt without a GPU: found or not, which algorithm is taken, and what it is called with. The library is
// loaded once in a process, so each case runs in a child of its own.
#include "runtime/cuda/CublasLt.h"
#include "test/unit/runtime/fake/FakeCublasLt.h"

#include <cstdlib>
#include <dlfcn.h>
#include <gtest/gtest.h>

using namespace fusebox;
using namespace fusebox::cuda;

namespace {

/// In a child: ends it with 0 if the text has `part` in it.
[[noreturn]] void endIfContains(const std::string &text, const std::string &part) {
  std::fprintf(stderr, "%s\n", text.c_str());
  std::exit(text.find(part) == std::string::npos);
}

std::string versionOrProblem(const char *name, const char *value) {
  setenv(name, value, 1);
  auto version = cublasLtVersion();
  return version ? *version : version.error().message;
}

struct ProductCase {
  plan::Product product;
  uint64_t rows = 300;
};

/// Chooses and launches with the fake library; what it was called with.
FakeProduct launched(const ProductCase &test) {
  setenv("FUSEBOX_CUBLASLT_PATH", FUSEBOX_FAKE_CUBLASLT, 1);
  auto library = CublasLt::open();
  auto product = library ? (*library)->choose(test.product) : Result<LibraryProduct>(library.error());
  auto done = product ? product->launch(nullptr, 0x1000, 0x2000, 0x3000, 0x4000, 0x5000, test.rows)
                      : Result<void>(product.error());
  if (!done) {
    std::fprintf(stderr, "%s\n", done.error().message.c_str());
    std::exit(2);
  }
  void *fake = dlopen(FUSEBOX_FAKE_CUBLASLT "/libcublasLt.so.13", RTLD_NOW | RTLD_NOLOAD);
  auto last = reinterpret_cast<const FakeProduct *(*)()>(dlsym(fake, "fakeLastProduct"));
  return *last();
}

const void *at(uintptr_t address) { return reinterpret_cast<const void *>(address); }

} // namespace

TEST(CublasLtTest, SaysWhereItWasLookedForWhenAbsent) {
  EXPECT_EXIT(endIfContains(versionOrProblem("FUSEBOX_CUBLASLT_PATH", "/nowhere"), "FUSEBOX_CUBLASLT_PATH"),
              testing::ExitedWithCode(0), "cuBLASLt was not found");
}

TEST(CublasLtTest, CanBeSwitchedOff) {
  EXPECT_EXIT(endIfContains(versionOrProblem("FUSEBOX_CUBLASLT", "off"), "off"), testing::ExitedWithCode(0),
              "switched off");
}

TEST(CublasLtTest, TellsItsVersion) {
  EXPECT_EXIT(endIfContains(versionOrProblem("FUSEBOX_CUBLASLT_PATH", FUSEBOX_FAKE_CUBLASLT), "13.1.2"),
              testing::ExitedWithCode(0), "");
}

TEST(CublasLtTest, TakesTheFirstAlgorithmThatSplitsNoSums) {
  auto test = [] {
    FakeProduct last = launched({{.in = 64, .out = 48, .outType = DType::BF16, .hasBias = false}, 300});
    bool right = last.algorithm == 3 && last.in == 64 && last.out == 48 && last.rows == 300 &&
                 last.outType == 14 && last.weightTransposed && !last.bias && last.y == at(0x1000) &&
                 last.x == at(0x2000) && last.weight == at(0x3000);
    std::exit(!right);
  };
  EXPECT_EXIT(test(), testing::ExitedWithCode(0), "");
}

TEST(CublasLtTest, AddsTheBiasBeforeRounding) {
  auto test = [] {
    FakeProduct last = launched({{.in = 64, .out = 48, .outType = DType::F32, .hasBias = true}, 17});
    std::exit(!(last.bias == at(0x4000) && last.outType == 0 && last.rows == 17));
  };
  EXPECT_EXIT(test(), testing::ExitedWithCode(0), "");
}

TEST(CublasLtTest, RefusesProductsWithSplitSumsOnly) {
  auto test = [] { launched({{.in = 24, .out = 48, .outType = DType::BF16, .hasBias = false}}); };
  EXPECT_EXIT(test(), testing::ExitedWithCode(2), "no algorithm for the product of 24 to 48 columns");
}
