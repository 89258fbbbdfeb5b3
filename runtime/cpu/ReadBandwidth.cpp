#include "runtime/cpu/ReadBandwidth.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <sys/mman.h>
#include <thread>
#include <vector>

using namespace fusebox;

namespace {
typedef uint64_t Vector __attribute__((vector_size(64)));

/// Reads [begin, end) once; the result keeps the loads from being dropped.
uint64_t readOnce(const std::byte *begin, const std::byte *end) {
  Vector sums[4] = {};
  for (; begin + 256 <= end; begin += 256)
    for (int i = 0; i < 4; ++i) {
      Vector value;
      std::memcpy(&value, begin + 64 * i, sizeof value);
      sums[i] ^= value;
    }
  Vector sum = sums[0] ^ sums[1] ^ sums[2] ^ sums[3];
  return sum[0] ^ sum[1] ^ sum[2] ^ sum[3] ^ sum[4] ^ sum[5] ^ sum[6] ^ sum[7];
}
} // namespace

Result<double> fusebox::measureReadBandwidth(unsigned threads) {
  constexpr size_t size = size_t(512) << 20;
  constexpr int passes = 9;
  void *memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    return resourceError("512 MB of memory are needed to measure the read bandwidth");
  auto *bytes = static_cast<std::byte *>(memory);
  madvise(memory, size, MADV_HUGEPAGE);
  std::memset(memory, 1, size);
  std::vector<double> rates;
  volatile uint64_t sink = 0;
  for (int pass = 0; pass < passes; ++pass) {
    auto start = std::chrono::steady_clock::now();
    std::vector<std::thread> workers;
    std::vector<uint64_t> sums(threads);
    for (unsigned i = 0; i < threads; ++i)
      workers.emplace_back(
          [&, i] { sums[i] = readOnce(bytes + size / threads * i, bytes + size / threads * (i + 1)); });
    for (std::thread &worker : workers)
      worker.join();
    for (uint64_t sum : sums)
      sink = sink ^ sum;
    rates.push_back(double(size) /
                    std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  munmap(memory, size);
  std::nth_element(rates.begin(), rates.begin() + passes / 2, rates.end());
  return rates[passes / 2];
}
