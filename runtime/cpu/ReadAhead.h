// What a thread does while it waits for others: it brings the weights it reads next into its cache.
//
// Decoding is bound by reading weights; without this, memory stands still while one thread computes a norm or
// the last task of a group.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace fusebox::cpu {

/// A thread's weights of a coming group, asked for piece by piece, from the start of each.
class ReadAhead {
public:
  /// From now on asks for `weights`, which are read side by side.
  void start(std::vector<std::span<const std::byte>> &&next) {
    weights = std::move(next);
    done = 0;
  }

  /// Asks for a few more lines; false when that is enough.
  bool step() {
    if (weights.empty() || done >= enough)
      return false;
    // The pieces of several weights in turn, as the tasks will read them.
    uint64_t index = done / piece;
    std::span<const std::byte> range = weights[index % weights.size()];
    uint64_t offset = index / weights.size() * piece + done % piece;
    if (offset >= range.size())
      return false;
    for (uint64_t at = offset; at < offset + stepBytes && at < range.size(); at += line)
      __builtin_prefetch(range.data() + at, /*write=*/0, /*locality: second-level cache*/ 2);
    done += stepBytes;
    return true;
  }

private:
  static constexpr uint64_t line = 64, stepBytes = 512, piece = 16384;
  static constexpr uint64_t enough = 256 << 10; ///< half of a small second-level cache
  std::vector<std::span<const std::byte>> weights;
  uint64_t done = 0;
};

} // namespace fusebox::cpu
