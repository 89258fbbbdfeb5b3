// The memory floor: how fast this machine's cores read memory, and what a plan must read for one token.
#pragma once

#include "runtime/plan/Program.h"
#include "support/Result.h"

namespace fusebox {

/// Bytes a second that `threads` threads read together from memory far larger than the caches: the best of a
/// few passes over 512 MB. Takes about 0.3 s.
Result<double> measureReadBandwidth(unsigned threads);

/// Bytes of weights one token's step reads. A weight that only a gather reads (an untied embedding) counts
/// one row.
uint64_t bytesReadPerToken(const plan::Program &program);

} // namespace fusebox
