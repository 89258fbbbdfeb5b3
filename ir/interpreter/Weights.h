// How the oracle gets at parameters.
#pragma once

#include "ir/layer/LayerOps.h"

#include <functional>
#include <span>

namespace fusebox::oracle {

/// Writes rows [first, first + out.size() ÷ columns) of a parameter to `out`, as the IR's type holds them:
/// dequantised, permuted and rounded as its recipe says. A vector is one row. `layer` is the current layer's
/// number where the parameter has `layers`. Called from several threads at once.
using WeightRows =
    std::function<void(layer::ParamOp param, int64_t layer, int64_t first, std::span<double> out)>;

} // namespace fusebox::oracle
