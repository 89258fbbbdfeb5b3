#include "test/fuzz/AllocationMeter.h"

#include <atomic>
#include <cstdlib>
#include <malloc.h>
#include <new>

namespace {
std::atomic<uint64_t> live{0}, peak{0};

void *allocate(size_t size) {
  void *memory = std::malloc(size ? size : 1);
  if (!memory)
    throw std::bad_alloc();
  uint64_t now = live += malloc_usable_size(memory);
  for (uint64_t seen = peak; seen < now && !peak.compare_exchange_weak(seen, now);) {
  }
  return memory;
}

void release(void *memory) {
  if (memory)
    live -= malloc_usable_size(memory);
  std::free(memory);
}
} // namespace

uint64_t fusebox::fuzz::liveBytes() { return live; }
uint64_t fusebox::fuzz::peakBytes() { return peak; }
void fusebox::fuzz::resetPeak() { peak = live.load(); }

void *operator new(size_t size) { return allocate(size); }
void *operator new[](size_t size) { return allocate(size); }
void operator delete(void *memory) noexcept { release(memory); }
void operator delete[](void *memory) noexcept { release(memory); }
void operator delete(void *memory, size_t) noexcept { release(memory); }
void operator delete[](void *memory, size_t) noexcept { release(memory); }
