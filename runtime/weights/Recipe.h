// Weight recipes: how stored tensors become what a kernel reads. Executed when a plan is opened.
//
// Ops run in order on a list of tensors, at first the instance's sources; Concatenate and Interleave make one
// of many, all others map each. One tensor must be left, with the weight's dtype and bytes.
#pragma once

#include "runtime/plan/Program.h"
#include "support/Result.h"

#include <cstddef>
#include <span>
#include <vector>

namespace fusebox {

/// Dtype and shape of a tensor on its way through a recipe. Row-major; "rows" are all dimensions but the
/// last.
struct TensorForm {
  DType dtype = DType::BF16;
  std::vector<int64_t> shape;
};

/// Checks the recipes of all weights and instances without running them, results included.
/// Fails with ErrorKind::Model, naming weight, op and what was expected.
Result<void> checkRecipes(const plan::Program &program);

/// Runs a checked recipe for one instance. `sources` are the stored bytes; `out` takes weight.bytes bytes.
Result<void> runRecipe(const plan::Program &program, const plan::Weight &weight,
                       const plan::WeightInstance &instance,
                       std::span<const std::span<const std::byte>> sources, std::span<std::byte> out);

/// True if the stored bytes are used as they lie: no op, one source.
inline bool isIdentity(const plan::Weight &weight) { return weight.recipe.empty(); }

} // namespace fusebox
