// Machine code of a plan as text: what `inspect --asm` shows.
#pragma once

#include "support/Result.h"

#include <cstddef>
#include <span>
#include <string>

namespace fusebox::cpu {

/// Disassembles x86-64 code, a line an instruction with its offset; `features` as in plan::Target. Reading
/// stops after the last instruction that fits. Bytes that are no instruction are shown as such.
Result<std::string> disassemble(std::span<const std::byte> code, const std::string &cpu,
                                const std::string &features);

} // namespace fusebox::cpu
