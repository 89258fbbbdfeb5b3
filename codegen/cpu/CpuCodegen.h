// Machine code for CPU kernels: bitcode from kernels/cpu, specialised to constant shapes and compiled for one
// target.
//
// Used by plan generation, `inspect --asm` and the kernels' tests. LLVM stays behind this interface.
#pragma once

#include "kernels/cpu/KernelTable.h"
#include "runtime/plan/Program.h"
#include "support/Result.h"

#include <span>
#include <string>
#include <vector>

namespace fusebox::cpu {

/// A kernel to compile. `constants` holds every field of the kernel's shape (kernelVariants completes them).
struct KernelRequest {
  std::string name;   ///< becomes the symbol's name in assembly
  std::string symbol; ///< the kernel, e.g. "linear"
  Fields constants;
};

/// What the code may use. `cpu` is "x86-64-v3" or "x86-64-v4"; `features` as in plan::Target; `name` is what
/// both are called together.
struct CpuTarget {
  std::string cpu;
  std::string features;
  std::string name;
};

/// The best target that this machine runs. Fails with ErrorKind::Resource below x86-64-v3.
Result<CpuTarget> hostTarget();
/// "x86-64-v3", "x86-64-v4", "x86-64-v4+avx512bf16" or "native". Fails with ErrorKind::Usage on others.
Result<CpuTarget> parseCpuTarget(const std::string &name);

struct CompiledKernel {
  uint64_t entry = 0; ///< offset of its KernelFn in the image
  uint64_t bytes = 0; ///< of code
};
struct CompiledImage {
  plan::Image image;                   ///< position-independent, relocations applied; `target` is left 0
  std::vector<CompiledKernel> kernels; ///< as the requests
};

/// Which constants the code may rely on. TypesOnly leaves only types and flags constant: what a library
/// compiled ahead of time would have, for comparison.
enum class Specialise { All, TypesOnly };

/// Compiles `requests` on up to `threads` threads (0: as many as there are CPUs). The image is the same for
/// any number of threads.
Result<CompiledImage> compileCpuKernels(std::span<const KernelRequest> requests, const CpuTarget &target,
                                        Specialise specialise = Specialise::All, unsigned threads = 0);

/// Assembly text of one kernel.
Result<std::string> kernelAssembly(const KernelRequest &request, const CpuTarget &target);

} // namespace fusebox::cpu
