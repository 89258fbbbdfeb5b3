// How fast this machine's cores read memory: what a decode step is measured by.
#pragma once

#include "support/Result.h"

namespace fusebox {

/// Bytes a second that `threads` threads read together from memory far larger than the caches: the
/// median of a few passes over 512 MB, as what is measured by it is a mean or a median, too. Takes about half
/// a second.
Result<double> measureReadBandwidth(unsigned threads);

} // namespace fusebox
