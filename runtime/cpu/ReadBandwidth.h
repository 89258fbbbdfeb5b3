// How fast this machine's cores read memory: what a decode step is measured by.
#pragma once

#include "support/Result.h"

namespace fusebox {

/// Bytes a second that `threads` threads read together from memory far larger than the caches: the best of a
/// few passes over 512 MB. Takes about 0.3 s.
Result<double> measureReadBandwidth(unsigned threads);

} // namespace fusebox
