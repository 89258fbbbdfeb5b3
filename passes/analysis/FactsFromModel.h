// The analysis's facts of a model that the front ends have read: no IR is built.
#pragma once

#include "frontends/LoadModel.h"
#include "passes/analysis/Facts.h"

namespace fusebox {

struct FactsOptions {
  AttentionRounding rounding = AttentionRounding::Sdpa;
  /// Type of activations; the model's own if not set.
  std::optional<DType> activations;
};

/// The facts of `model`. Views point into its mapped files, which must stay open. Fails with ErrorKind::Model
/// if a norm or bias can't be widened, ErrorKind::Internal if a parameter that the description names has no
/// tensor.
Result<ModelFacts> factsFromModel(const LoadedModel &model, std::string name,
                                  const FactsOptions &options = {});

/// A view of a stored tensor, [rows, columns]; `recipe` as in ParamSpec, with heads of `headDim` rows.
MatrixView viewTensor(const Checkpoint &checkpoint, const StoredTensor &tensor, std::string_view recipe,
                      int64_t headDim);

/// A stored vector, widened; `recipe` as for viewTensor.
Result<std::vector<double>> readVector(const Checkpoint &checkpoint, const StoredTensor &tensor,
                                       std::string_view recipe, int64_t headDim);

} // namespace fusebox
