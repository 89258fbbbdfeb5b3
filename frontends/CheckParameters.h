// All of a model's tensors against its parameter table, in one pass and one message.
#pragma once

#include "frontends/LoadModel.h"

namespace fusebox {

/// Finds the tensor of each parameter. Fails with ErrorKind::Model if any tensor is missing, unknown, of
/// another shape, or of a type that parameters can't have (vectors: F32, F16, BF16; matrices: those and the
/// block types); the message lists all of them, up to a few dozen. `ignored` are names, with {} for a layer,
/// that may be there unused.
Result<std::vector<BoundParameter>> checkParameters(const ModelSpec &spec, const Checkpoint &checkpoint,
                                                    const std::vector<std::string> &ignored);

} // namespace fusebox
