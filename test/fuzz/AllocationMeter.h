// Heap use of a piece of code: replaces operator new in the test that links fusebox_fuzz, and counts.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fusebox::fuzz {

/// Bytes of operator new that live now, and the most since resetPeak(). Of all threads.
uint64_t liveBytes();
uint64_t peakBytes();
void resetPeak();

/// The most heap that was in use at one time while `code` ran, beyond what was in use before.
template <typename Code> uint64_t peakOf(Code &&code) {
  resetPeak();
  uint64_t before = liveBytes();
  code();
  return peakBytes() - before;
}

} // namespace fusebox::fuzz
