// Parameters read from mapped files through the sources and recipes that bind-weights wrote.
#pragma once

#include "ir/interpreter/Weights.h"
#include "support/MappedFile.h"
#include "support/Result.h"

#include <memory>
#include <span>
#include <vector>

namespace fusebox::oracle {

/// A reader of the bound parameters of `model` from the bytes of its `files`, in the same order. Fails with
/// ErrorKind::Model if a parameter has no sources, a source leaves its file, or a recipe has a step that is
/// unknown. The reader keeps `owner` alive, to whom the bytes belong; `model` must outlive it.
Result<WeightRows> boundWeights(layer::ModelOp model, const std::vector<std::span<const std::byte>> &files,
                                std::shared_ptr<const void> owner);

/// The same from mapped files.
Result<WeightRows> boundWeights(layer::ModelOp model, std::vector<MappedFile> files);

/// The same with the model's `files` mapped from the paths that they name.
Result<WeightRows> boundWeights(layer::ModelOp model);

} // namespace fusebox::oracle
