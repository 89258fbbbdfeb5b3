// The analysis's facts of a bound model in `layer` IR: what its operations say, not what a configuration file
// does.
#pragma once

#include "ir/layer/LayerOps.h"
#include "passes/analysis/Facts.h"
#include "support/MappedFile.h"

namespace fusebox {

/// Facts of `model`, whose parameters are bound to `files` (in the order of its `files` attribute, which must
/// stay mapped). Fails with a diagnostic where the graph is none of a decoder's: what the metrics need can't
/// be found.
mlir::FailureOr<ModelFacts> factsFromIr(layer::ModelOp model, llvm::ArrayRef<MappedFile> files);

} // namespace fusebox
