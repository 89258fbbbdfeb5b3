// What could be done about a bad score: now, by rebalancing, and earlier, in training.
#pragma once

#include "check/CheckReport.h"

#include <string>
#include <vector>

namespace fusebox {

/// A line each. Needs analysis.rebalancing for what rebalancing would do.
std::vector<std::string> guidanceFor(const CheckReport &report);

} // namespace fusebox
