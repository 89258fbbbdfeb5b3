// Which pages of the KV pools belong to which sequence.
#pragma once

#include "support/Result.h"

#include <cstdint>
#include <span>
#include <vector>

namespace fusebox {

/// Slots, each a sequence's list of pages, and the free pages. All layers share one numbering.
class PageTable {
public:
  PageTable() = default;
  /// `pages` in all; a slot holds at most contextTokens.
  PageTable(uint32_t slots, uint32_t pages, uint32_t contextTokens);

  uint32_t slots() const { return uint32_t(table.size()); }
  uint32_t length(uint32_t slot) const { return table[slot].length; }
  uint32_t freePages() const { return uint32_t(unused.size()); }
  std::span<const int32_t> pages(uint32_t slot) const { return table[slot].pages; }

  /// Makes slots[i] longer by counts[i] tokens: all of them, or none and ErrorKind::Resource.
  Result<void> extend(std::span<const int32_t> slots, std::span<const uint32_t> counts);
  /// Makes a slot `length` tokens long, no more than it is.
  void truncate(uint32_t slot, uint32_t length);

private:
  struct Slot {
    uint32_t length = 0;
    std::vector<int32_t> pages;
  };
  std::vector<Slot> table;
  std::vector<int32_t> unused; ///< the last is given out next
  uint32_t context = 0;
};

} // namespace fusebox
