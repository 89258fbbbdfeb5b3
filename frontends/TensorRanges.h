// Checks that every reader of tensor files makes: sizes that can't overflow, ranges that neither overlap nor
// leave.
#pragma once

#include "frontends/Checkpoint.h"
#include "support/Result.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace fusebox {

inline constexpr size_t maxTensorRank = 8;

/// Bytes of a tensor of that type and shape; none if the product overflows or a row is no whole number of
/// blocks.
std::optional<uint64_t> storedBytes(DType type, std::span<const int64_t> shape);

/// The part of a file that holds tensor data.
struct DataRange {
  uint64_t begin, end;
};

/// Fails with ErrorKind::Model if tensors share bytes or leave `range`, or, unless `gapsAllowed`, if bytes of
/// the range belong to none. `name` is the file, for messages.
Result<void> checkTensorRanges(const std::vector<StoredTensor> &tensors, DataRange range, bool gapsAllowed,
                               const std::string &name);

} // namespace fusebox
