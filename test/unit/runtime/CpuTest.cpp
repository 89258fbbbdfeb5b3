#include "runtime/cpu/CodeImage.h"
#include "runtime/cpu/CpuFeatures.h"
#include "runtime/cpu/HostMemory.h"
#include "runtime/cpu/ThreadPool.h"
#include "test/unit/runtime/ToyModel.h"

#include <fstream>
#include <gtest/gtest.h>
#include <immintrin.h>
#include <numeric>
#include <sstream>

using namespace fusebox;
using namespace fusebox::cpu;

TEST(ThreadPool, EveryThreadRunsAndBarriersSeparatePhases) {
  for (unsigned threads : {1u, 2u, 3u, 7u}) {
    ThreadPool pool(threads);
    for (int repeat = 0; repeat < 5; ++repeat) {
      constexpr int phases = 50;
      std::vector<std::atomic<int>> entered(phases);
      std::atomic<int> wrong = 0, lasts = 0;
      pool.run([&](unsigned) {
        for (int phase = 0; phase < phases; ++phase) {
          ++entered[size_t(phase)];
          pool.barrier([&] { ++lasts; }, [] { return false; });
          wrong += entered[size_t(phase)] != int(threads);
        }
      });
      EXPECT_EQ(wrong, 0);
      EXPECT_EQ(lasts, phases);
    }
  }
}

TEST(ThreadPool, SleepersWake) {
  ThreadPool pool(3);
  for (int repeat = 0; repeat < 3; ++repeat) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3)); // longer than idle threads spin
    std::atomic<int> ran = 0;
    pool.run([&](unsigned thread) {
      if (thread == 0)
        std::this_thread::sleep_for(std::chrono::milliseconds(2)); // longer than waiting threads spin
      pool.barrier();
      ++ran;
    });
    EXPECT_EQ(ran, 3);
  }
}

TEST(ThreadPool, DenormalsAreFlushedInsideRunsOnly) {
  ThreadPool pool(2);
  volatile float smallest = 1.17549435e-38f;
  unsigned before = _mm_getcsr();
  std::atomic<int> flushed = 0;
  pool.run([&](unsigned) { flushed += smallest * 0.5f == 0; });
  EXPECT_EQ(flushed, 2);
  EXPECT_EQ(_mm_getcsr() & ~0x3fu, before & ~0x3fu);
  EXPECT_NE(smallest * 0.5f, 0);
}

/// The permissions ("r-xp") of the mapping that holds an address.
static std::string permissionsOf(const void *address) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::istringstream fields(line);
    uintptr_t first, end;
    char dash;
    std::string permissions;
    fields >> std::hex >> first >> dash >> end >> permissions;
    if (uintptr_t(address) >= first && uintptr_t(address) < end)
      return permissions;
  }
  return "unmapped";
}

TEST(CodeImage, IsNeverWritableAndExecutable) {
  plan::Image image = {0, 4096, std::vector<std::byte>(3 * 4096)};
  auto mapped = CodeImage::map(image);
  ASSERT_TRUE(mapped);
  EXPECT_EQ(permissionsOf(reinterpret_cast<void *>(mapped->entry(0))), "r-xp");
  EXPECT_EQ(permissionsOf(reinterpret_cast<void *>(mapped->entry(4096))), "r--p");
  EXPECT_EQ(permissionsOf(reinterpret_cast<void *>(mapped->entry(3 * 4096 - 1))), "r--p");
}

TEST(CodeImage, KernelsFindTheirData) {
  auto &toy = toy::toyImage();
  ASSERT_GT(toy.bytes.size(), toy.codeBytes) << "the image has a data part";
  auto mapped = CodeImage::map({0, toy.codeBytes, toy.bytes});
  ASSERT_TRUE(mapped);
  float value = 1;
  void *args[] = {&value};
  StepView step = {};
  mapped->entry(toy.entries.at("toy_denormal"))(args, &step, nullptr, 0);
  EXPECT_NE(value, 1);
}

TEST(CpuFeatures, BaselineIsAlwaysThere) {
  EXPECT_TRUE(checkFeatures({plan::TargetKind::Cpu, "x86-64", ""}));
  EXPECT_TRUE(checkFeatures({plan::TargetKind::Cpu, "x86-64", ",,"}));
}

TEST(CpuFeatures, APlanForAnotherCpuSaysWhatIsLackingAndWhatToDo) {
  auto refusal = [](const std::string &feature) {
    auto checked = checkFeatures({plan::TargetKind::Cpu, "x86-64", "+" + feature});
    return checked ? std::string() : checked.error().message;
  };
  std::pair<std::string, bool> features[] = {{"avx2", __builtin_cpu_supports("avx2")},
                                             {"avx512bf16", __builtin_cpu_supports("avx512bf16")},
                                             {"avx512fp16", __builtin_cpu_supports("avx512fp16")},
                                             {"amx-tile", __builtin_cpu_supports("amx-tile")}};
  for (const auto &[feature, here] : features)
    EXPECT_EQ(refusal(feature), here ? ""
                                     : "the plan is for x86-64,+" + feature + ", this CPU lacks " + feature +
                                           "; compile it again with --target cpu");
  EXPECT_NE(refusal("of-tomorrow").find("which this program cannot check (of-tomorrow)"), std::string::npos);
}

TEST(HostMemory, IsZeroedAndRefusedInWords) {
  auto memory = allocatePages(5 << 20, "a test");
  ASSERT_TRUE(memory);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory->get()) % (2 << 20), 0u);
  EXPECT_EQ(std::accumulate(memory->get(), memory->get() + (5 << 20), 0u,
                            [](unsigned sum, std::byte byte) { return sum + unsigned(byte); }),
            0u);
  auto tooMuch = allocatePages(uint64_t(1) << 60, "a test");
  ASSERT_FALSE(tooMuch);
  EXPECT_EQ(tooMuch.error().kind, ErrorKind::Resource);
  EXPECT_NE(tooMuch.error().message.find("a test"), std::string::npos);
  EXPECT_GT(availableHostMemory(), uint64_t(1) << 20);
}
