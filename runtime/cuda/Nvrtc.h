// NVRTC, NVIDIA's run-time compiler of CUDA C++, loaded when first asked for: source to cubin, with no GPU
// needed.
#pragma once

#include "support/Result.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace fusebox::cuda {

/// What a compiled kernel takes of a multiprocessor.
struct KernelResources {
  std::string name;
  unsigned registers = 0;
  unsigned spillBytes = 0;                  ///< stores and loads of spilled registers, together
  unsigned stackBytes = 0, sharedBytes = 0; ///< static shared memory
};

struct CompiledModule {
  std::vector<std::byte> cubin;
  std::string ptx; ///< filled only if asked for
  std::string log;
  std::vector<KernelResources> kernels;
};

/// Whether and which NVRTC there is. `major.minor` of the library; fails with ErrorKind::Resource if there is
/// none.
Result<std::string> nvrtcVersion();

/// What a source is compiled with for a chip: `more` and what all kernels have.
std::vector<std::string> compileFlags(const std::string &chip, const std::vector<std::string> &more);

/// Compiles self-contained CUDA C++ for a chip ("sm_90a"). Fails with ErrorKind::Resource if NVRTC is
/// missing, with ErrorKind::Internal and the compiler's log if the source is wrong. Callable from several
/// threads at once.
Result<CompiledModule> compileCuda(const std::string &source, const std::string &name,
                                   const std::string &chip, const std::vector<std::string> &options = {},
                                   bool wantPtx = false);

/// The resource lines of a ptxas log ("ptxas info : Used 40 registers ...").
std::vector<KernelResources> parseResourceLog(const std::string &log);

} // namespace fusebox::cuda
