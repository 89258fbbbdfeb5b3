#include "runtime/cpu/ThreadPool.h"

#include "runtime/cpu/ControlGroup.h"

#include <algorithm>
#include <chrono>
#include <sched.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace fusebox::cpu;

namespace {

/// Sets the floating-point state kernels are defined for, and puts the old one back.
class KernelFloatState {
#if defined(__x86_64__)
public:
  KernelFloatState() : saved(_mm_getcsr()) { _mm_setcsr(maskAllExceptions | flushToZero | denormalsAreZero); }
  ~KernelFloatState() { _mm_setcsr(saved); }
  KernelFloatState(const KernelFloatState &) = delete;

private:
  static constexpr unsigned maskAllExceptions = 0x1f80, flushToZero = 0x8000, denormalsAreZero = 0x0040;
  unsigned saved;
#else
#error "the CPU device's float state is written for x86-64 only"
#endif
};

int64_t nowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

} // namespace

unsigned fusebox::cpu::usableCpus() {
  unsigned found = std::thread::hardware_concurrency();
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0)
    found = unsigned(CPU_COUNT(&set));
  found = std::min(found, cpuQuota().value_or(found));
  return found ? found : 1;
}

ThreadPool::ThreadPool(unsigned threads) : count(threads ? threads : 1), maySpin(count <= usableCpus()) {
  for (unsigned thread = 1; thread < count; ++thread)
    workers.emplace_back([this, thread] { serve(thread); });
}

ThreadPool::~ThreadPool() {
  stopping.store(true, std::memory_order_relaxed);
  release(runs, runs.load(std::memory_order_relaxed) + 1);
  for (std::thread &worker : workers)
    worker.join();
}

void ThreadPool::run(const std::function<void(unsigned)> &function) {
  KernelFloatState state;
  work = &function;
  release(runs, runs.load(std::memory_order_relaxed) + 1);
  function(0);
  barrier();
}

void ThreadPool::serve(unsigned thread) {
  KernelFloatState state;
  for (uint32_t seen = 0;; ++seen) {
    await(runs, seen, spinIdleNs);
    if (stopping.load(std::memory_order_relaxed))
      return;
    (*work)(thread);
    barrier();
  }
}

void ThreadPool::await(std::atomic<uint32_t> &value, uint32_t old, int64_t spinNs) const {
  constexpr int looksBetweenClocks = 256;
  if (maySpin) {
    int64_t now, deadline = 0;
    do {
      for (int i = 0; i < looksBetweenClocks; ++i) {
        if (value.load(std::memory_order_acquire) != old)
          return;
        _mm_pause();
      }
      now = nowNs();
      deadline = deadline ? deadline : now + spinNs;
    } while (now < deadline);
  }
  while (value.load(std::memory_order_acquire) == old)
    value.wait(old, std::memory_order_acquire);
}

void ThreadPool::release(std::atomic<uint32_t> &value, uint32_t next) {
  value.store(next, std::memory_order_release);
  value.notify_all();
}
