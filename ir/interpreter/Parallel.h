// Loops over rows on all cores. Results never depend on the split: each row is written by one thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace fusebox::oracle {

/// Calls body(i) for i from 0 to count − 1, each once, on as many threads as there are cores.
template <typename Body> void parallelFor(int64_t count, const Body &body) {
  std::atomic<int64_t> next = 0;
  auto work = [&] {
    for (int64_t i; (i = next.fetch_add(1)) < count;)
      body(i);
  };
  std::vector<std::jthread> helpers;
  for (int64_t i = 1; i < std::min<int64_t>(std::thread::hardware_concurrency(), count); ++i)
    helpers.emplace_back(work);
  work();
}

} // namespace fusebox::oracle
