// Widening stored rows to f32: GGUF's block formats, f16, bf16, f32. Definitions: ggml-org/ggml,
// src/ggml-quants.c.
#pragma once

#include "support/DType.h"
#include "support/Result.h"

#include <cstddef>
#include <span>

namespace fusebox {

/// Writes the `count` values stored in `bytes` to `out`, as f32. Each value is what ggml's reference gives,
/// bit for bit: every product and sum below is one f32 operation, rounded to nearest (bf16, f16 and f32 are
/// exact). Fails with ErrorKind::Internal if `count` is not a whole number of blocks, the sizes disagree, or
/// the type is none of F32, F16, BF16 and the block types.
Result<void> dequantiseRow(DType type, std::span<const std::byte> bytes, size_t count, float *out);

} // namespace fusebox
