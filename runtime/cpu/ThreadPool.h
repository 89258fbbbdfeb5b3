// The CPU device's threads: they run one function together and meet at barriers that cost under a
// microsecond.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace fusebox::cpu {

/// Waits of a thread spin this long before they sleep. Spinning is what makes a barrier cheap; sleeping is
/// what makes an idle session free.
inline constexpr int64_t spinInsideNs = 50'000; ///< at barriers inside a run
inline constexpr int64_t spinIdleNs = 500'000;  ///< between runs

/// A fixed set of threads, the caller of run() among them as thread 0. One run() at a time.
class ThreadPool {
public:
  explicit ThreadPool(unsigned threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool &) = delete;

  unsigned threads() const { return count; }

  /// Runs work(thread) on every thread, with denormals flushed (FTZ and DAZ) and rounding to nearest; returns
  /// when all are done. The caller's floating-point state is restored.
  void run(const std::function<void(unsigned thread)> &work);

  /// For use inside run(): returns when every thread has called it. The last one to arrive calls `last`
  /// first, while all others wait. They call `idle` over and over until it returns false: something short
  /// and useful.
  template <typename Last, typename Idle> void barrier(Last &&last, Idle &&idle) {
    uint32_t round = phase.load(std::memory_order_relaxed);
    if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == count) {
      last();
      arrived.store(0, std::memory_order_relaxed);
      release(phase, round + 1);
      return;
    }
    while (phase.load(std::memory_order_acquire) == round)
      if (!idle())
        return await(phase, round, spinInsideNs);
  }
  void barrier() {
    barrier([] {}, [] { return false; });
  }

private:
  const unsigned count;
  const bool maySpin;
  alignas(64) std::atomic<uint32_t> arrived = 0;
  alignas(64) std::atomic<uint32_t> phase = 0; ///< barriers passed
  alignas(64) std::atomic<uint32_t> runs = 0;  ///< runs started
  std::atomic<bool> stopping = false;
  const std::function<void(unsigned)> *work = nullptr;
  std::vector<std::thread> workers;

  void serve(unsigned thread);
  void await(std::atomic<uint32_t> &value, uint32_t old, int64_t spinNs) const;
  static void release(std::atomic<uint32_t> &value, uint32_t next);
};

/// CPUs that this process may use: by affinity and by its container's quota.
unsigned usableCpus();

} // namespace fusebox::cpu
