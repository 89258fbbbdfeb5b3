// A loop over independent tasks on a few threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

namespace fusebox {

/// Runs task(0) … task(count − 1), each once, on up to `threads` threads (the caller's is one of them).
template <typename Task> void parallelFor(size_t count, unsigned threads, const Task &task) {
  std::atomic<size_t> next = 0;
  auto work = [&] {
    for (size_t i; (i = next.fetch_add(1)) < count;)
      task(i);
  };
  std::vector<std::jthread> helpers;
  for (size_t i = 1; i < std::min<size_t>(std::max(threads, 1u), count); ++i)
    helpers.emplace_back(work);
  work();
}

} // namespace fusebox
