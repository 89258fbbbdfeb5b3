// RoPE's inverse frequencies from theta and the scaling rule.
#pragma once

#include "frontends/ModelSpec.h"

#include <vector>

namespace fusebox {

/// rotaryDim/2 inverse frequencies, each operation in f32 as in Hugging Face transformers
/// (modeling_rope_utils.py).
std::vector<float> ropeFrequencies(const RopeSpec &rope);

} // namespace fusebox
