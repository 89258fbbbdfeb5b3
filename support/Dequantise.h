// Widening stored rows to f32: GGUF's block formats, f16, bf16, f32. Definitions: ggml-org/ggml,
// src/ggml-quants.c.
#pragma once

#include "support/DType.h"
#include "support/Result.h"

#include <cstddef>
#include <span>

namespace fusebox {

/// Writes the `count` values stored in `bytes` to `out`, as f32. F32, F16 and BF16 are exact, and so are the
/// products in a block; a block type with a minimum rounds once, in its final sum, to nearest: ggml's
/// reference bit for bit. `bytes` may have any alignment. Fails with ErrorKind::Internal if `count` is not a
/// whole number of blocks, the sizes disagree, or the type is none of F32, F16, BF16 and the block types.
Result<void> dequantiseRow(DType type, std::span<const std::byte> bytes, size_t count, float *out);

} // namespace fusebox
