// Writing a safetensors file: header, then tensors one after the other in the order given.
#pragma once

#include "support/DType.h"
#include "support/Result.h"

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace fusebox {

/// A tensor to write; `bytes` must stay valid until the file is written.
struct TensorToWrite {
  std::string name;
  DType dtype = DType::F32; ///< not a block type
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};

/// Writes atomically; `metadata` becomes `__metadata__`. Format: huggingface/safetensors, README "Format".
Result<void> writeSafetensors(const std::string &path, std::span<const TensorToWrite> tensors,
                              std::span<const std::pair<std::string, std::string>> metadata = {});

} // namespace fusebox
