// Running independent pieces of work on several threads: loading, hashing. Not for kernels
// (runtime/cpu/ThreadPool.h).
#pragma once

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

namespace fusebox {

/// Calls work(i) for each i in [0, count), in order of start, on at most `threads` threads, the caller among
/// them.
template <typename Work> void parallelFor(size_t count, unsigned threads, Work &&work) {
  std::atomic<size_t> next = 0;
  auto loop = [&] {
    for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;)
      work(i);
  };
  std::vector<std::jthread> helpers;
  for (unsigned thread = 1; thread < threads && thread < count; ++thread)
    helpers.emplace_back(loop);
  loop();
}

} // namespace fusebox
