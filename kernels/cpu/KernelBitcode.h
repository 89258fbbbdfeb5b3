// The kernels' LLVM bitcode, embedded at build time: one module for each kernel source and ISA level.
#pragma once

#include <span>
#include <string_view>

namespace fusebox::cpu {

/// Levels that kernel sources are compiled for; numerics/Isa.h says what differs.
enum class Isa { Avx2, Avx512, Avx512Bf16 };

/// The module of `kernel`; empty if there is none.
std::span<const char> kernelBitcode(std::string_view kernel, Isa isa);

} // namespace fusebox::cpu
