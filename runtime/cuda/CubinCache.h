// Kernels compiled before: cubins in the cache folder, named by source, options, chip and NVRTC's version.
#pragma once

#include "runtime/cuda/Nvrtc.h"

#include <span>

namespace fusebox::cuda {

/// One kernel to compile: self-contained CUDA C++, and a name for messages.
struct KernelText {
  std::string name, source;
};

/// Cubins of `kernels` for a chip, from the cache or from NVRTC on up to `threads` threads. Fails with
/// ErrorKind::Resource if NVRTC is missing, with ErrorKind::Internal and the
/// compiler's log if a source is wrong.
Result<std::vector<std::vector<std::byte>>> compileCubins(std::span<const KernelText> kernels,
                                                          const std::string &chip, unsigned threads);

} // namespace fusebox::cuda
