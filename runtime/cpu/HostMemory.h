// Host memory: how much is left, and getting large pieces of it.
#pragma once

#include "support/Result.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace fusebox::cpu {

/// Bytes this process can still use without swapping: the system's available memory (page cache counts as
/// available), less what control groups (versions 1 and 2) and the address-space limit leave.
uint64_t availableHostMemory();

/// Zeroed pages, aligned to 2 MiB if that large, backed by huge pages where the system grants them. Pages are
/// taken from the system when first touched. Fails with ErrorKind::Resource, naming `what`.
Result<std::shared_ptr<std::byte>> allocatePages(uint64_t bytes, const std::string &what);

} // namespace fusebox::cpu
