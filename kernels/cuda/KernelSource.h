// CUDA kernel headers as text inside the compiler, and the self-contained source of one kernel instance.
#pragma once

#include "kernels/cuda/KernelTable.h"

#include <string>

namespace fusebox::cuda {

struct EmbeddedHeader {
  const char *name, *text;
};
extern const EmbeddedHeader embeddedHeaders[];
extern const unsigned embeddedHeaderCount;

/// The identifier of an instance: the symbol, and a hash of its shape constants and its body.
std::string kernelName(const KernelRequest &request);

/// CUDA C++ of an instance with everything it includes, for NVRTC: one extern "C" kernel called
/// kernelName(request) whose parameters are fusebox::Args and fusebox::StepView, by value.
Result<std::string> kernelSource(const KernelRequest &request);

} // namespace fusebox::cuda
