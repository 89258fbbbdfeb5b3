// The machine code of a CPU target in executable memory.
#pragma once

#include "kernels/cpu/KernelAbi.h"
#include "runtime/plan/Program.h"
#include "support/Result.h"

#include <memory>

namespace fusebox::cpu {

/// A copy of a plan's image: written first, then made read-only, its code executable; never both.
class CodeImage {
public:
  static Result<CodeImage> map(const plan::Image &image);
  KernelFn entry(uint64_t offset) const { return reinterpret_cast<KernelFn>(memory.get() + offset); }
  uint64_t bytes() const { return size; }

private:
  std::shared_ptr<std::byte> memory;
  uint64_t size = 0;
};

} // namespace fusebox::cpu
