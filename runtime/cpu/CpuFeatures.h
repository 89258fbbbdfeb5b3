// Whether this CPU can run code compiled for a target.
#pragma once

#include "runtime/plan/Program.h"
#include "support/Result.h"

#include <string_view>

namespace fusebox::cpu {

/// Checks target.name ("x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4") and target.features (comma-separated
/// LLVM names with or without '+', e.g. "+avx512bf16,+avx512vnni") against this CPU and system. Fails with
/// ErrorKind::Model, naming all that is missing, or a name that this build can't check.
Result<void> checkFeatures(const plan::Target &target);

} // namespace fusebox::cpu
