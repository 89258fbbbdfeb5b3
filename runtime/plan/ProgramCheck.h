// Consistency of a program: what the executor relies on without checking again.
#pragma once

#include "runtime/plan/Program.h"

#include <optional>
#include <span>

namespace fusebox::plan {

/// Limits that keep every later product of sizes inside 64 bits.
inline constexpr uint64_t maxUnitBytes = uint64_t(1)
                                         << 34; ///< bytesPerUnit, offsetPerUnit, pageBytes, scratch
inline constexpr uint64_t maxWeightBytes = uint64_t(1) << 50; ///< all weights together
inline constexpr uint32_t maxStepUnits = uint32_t(1) << 20;   ///< tokens, sequences or logits rows of a step
inline constexpr uint32_t maxGridCount = uint32_t(1) << 24;   ///< GridDim::count

/// Every count, index and offset is in range, loops are well formed, and each argument exists for every layer
/// its launch runs for. The encoder's side can call it too. Fails with ErrorKind::Model and the field that is
/// wrong.
Result<void> checkProgram(const Program &program);

/// Bytes of a tensor of this shape, or nothing if a dimension is not positive, the product overflows or a row
/// is not a whole number of blocks.
std::optional<uint64_t> tensorBytes(DType dtype, std::span<const int64_t> shape);

} // namespace fusebox::plan
