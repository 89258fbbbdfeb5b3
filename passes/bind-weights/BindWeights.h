// The second phase: ties each parameter of a model to tensors in mapped files.
#pragma once

#include "frontends/Checkpoint.h"
#include "ir/layer/LayerOps.h"

namespace fusebox {

/// Gives every parameter of `model` its `sources` and completes its `recipe`, and lists the files in `files`.
/// A stored type that differs from the parameter's is converted at load (`widen T`); of matrices a remark
/// says so, since it costs memory. Missing tensors, other shapes and types that nothing converts are reported
/// all at once, each at its parameter; tensors of `checkpoint` that no parameter names are remarked on.
mlir::LogicalResult bindWeights(layer::ModelOp model, const Checkpoint &checkpoint);

} // namespace fusebox
