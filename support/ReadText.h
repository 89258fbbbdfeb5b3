// A small text file in memory.
#pragma once

#include "support/Result.h"

#include <string>

namespace fusebox {

/// The whole file; fails with ErrorKind::Model if it can't be read.
Result<std::string> readText(const std::string &path);

} // namespace fusebox
