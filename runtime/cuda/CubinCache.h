// Kernels compiled before: cubins in the cache folder, named by source, options (the chip among them) and
// NVRTC's version.
#pragma once

#include "runtime/cuda/Nvrtc.h"

#include <functional>
#include <span>
#include <string_view>

namespace fusebox::cuda {

/// One kernel to compile: self-contained CUDA C++, and a name for messages.
struct KernelText {
  std::string name, source;
  std::vector<std::string> options = {}; ///< beside those of all kernels
};

/// Called by one thread at a time; false cancels.
using CompileProgress = std::function<bool(std::string_view stage, double fraction)>;

/// Cubins of `kernels` for a chip, from the cache or from NVRTC on up to `threads` threads. Fails with
/// ErrorKind::Resource if NVRTC is missing, with ErrorKind::Internal and the
/// compiler's log if a source is wrong. `progress` is called after each; false ends it with
/// ErrorKind::Resource.
Result<std::vector<std::vector<std::byte>>> compileCubins(std::span<const KernelText> kernels,
                                                          const std::string &chip, unsigned threads,
                                                          const CompileProgress &progress = {});

} // namespace fusebox::cuda
