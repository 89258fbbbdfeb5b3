// The front ends' one entrance: a model's name or path → its description, its files, and each parameter's
// tensor.
#pragma once

#include "frontends/Checkpoint.h"
#include "frontends/ModelSpec.h"
#include "support/Result.h"

#include <string>
#include <string_view>
#include <vector>

namespace fusebox {

/// The tensors that hold one parameter: one, or one a layer.
struct BoundParameter {
  size_t parameter = 0;        ///< index into ModelSpec::parameters
  std::vector<size_t> tensors; ///< indices into Checkpoint::tensors(), by layer
};

/// A model read and checked: every parameter has its tensor, of the right shape and an accepted type.
struct LoadedModel {
  ModelSpec spec;
  Checkpoint checkpoint;
  std::vector<BoundParameter> parameters; ///< in the order of spec.parameters

  /// The tensor of a role (layer 0 if it is not per layer), or null.
  const StoredTensor *find(std::string_view role, int64_t layer = 0) const;
};

struct LoadOptions {
  /// A folder whose *.yaml families are read in place of built-in ones of the same name; empty: built-in ones
  /// only.
  std::string familyFolder;
};

/// Resolves `model` (a folder, a .gguf or .safetensors file, or org/name in the local Hugging Face cache),
/// maps its files, reads its description through its family file, and checks all tensors at once. Fails with
/// ErrorKind::Model; the message names file, key or tensors, and the remedy.
Result<LoadedModel> loadModel(const std::string &model, const LoadOptions &options = {});

/// The description alone: works for a folder with a config.json and no weights.
Result<ModelSpec> readModelSpec(const std::string &folder, const LoadOptions &options = {});

} // namespace fusebox
