// Machine code of NVIDIA GPUs as text, by NVIDIA's own disassembler: there is no other.
#pragma once

#include "support/Result.h"

#include <cstddef>
#include <span>
#include <string>

namespace fusebox::cuda {

/// Disassembles a cubin with nvdisasm or cuobjdump of the CUDA toolkit: from PATH, $CUDA_HOME/bin,
/// $CUDA_PATH/bin or /usr/local/cuda/bin. Fails with ErrorKind::Resource if neither is there or it can't read
/// the cubin.
Result<std::string> disassembleCubin(std::span<const std::byte> cubin);

} // namespace fusebox::cuda
