#include "runtime/session/PageTable.h"

#include "kernels/cpu/KernelAbi.h"

#include <cassert>

using namespace fusebox;

static uint32_t pagesFor(uint64_t tokens) { return uint32_t((tokens + kvPageTokens - 1) / kvPageTokens); }

PageTable::PageTable(uint32_t slots, uint32_t pages, uint32_t contextTokens)
    : table(slots), context(contextTokens) {
  for (uint32_t page = pages; page-- > 0;)
    unused.push_back(int32_t(page));
}

Result<void> PageTable::extend(std::span<const int32_t> slots, std::span<const uint32_t> counts) {
  uint64_t wanted = 0;
  for (size_t i = 0; i < slots.size(); ++i) {
    const Slot &slot = table[size_t(slots[i])];
    uint64_t length = uint64_t(slot.length) + counts[i];
    if (length > context)
      return resourceError("the context is full: " + std::to_string(slot.length) + " tokens and " +
                           std::to_string(counts[i]) + " more exceed its " + std::to_string(context) +
                           "; open the plan with a larger context, or shorten the text");
    wanted += pagesFor(length) - slot.pages.size();
  }
  if (wanted > unused.size())
    return resourceError("the KV cache is full: " + std::to_string(wanted) + " pages of " +
                         std::to_string(kvPageTokens) + " tokens are wanted, " +
                         std::to_string(unused.size()) +
                         " are free; finish a sequence first, or give the session more memory");
  for (size_t i = 0; i < slots.size(); ++i) {
    Slot &slot = table[size_t(slots[i])];
    slot.length += counts[i];
    while (slot.pages.size() < pagesFor(slot.length)) {
      slot.pages.push_back(unused.back());
      unused.pop_back();
    }
  }
  return {};
}

void PageTable::truncate(uint32_t index, uint32_t length) {
  Slot &slot = table[index];
  assert(length <= slot.length && "truncation does not lengthen");
  slot.length = length;
  while (slot.pages.size() > pagesFor(length)) {
    unused.push_back(slot.pages.back());
    slot.pages.pop_back();
  }
}
