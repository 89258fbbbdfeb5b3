// The text of a weight recipe's steps in the IR, e.g. "widen bf16" or "unpermute_rope 9".
#pragma once

#include "runtime/plan/Program.h"
#include "support/Result.h"

#include <functional>
#include <optional>
#include <string_view>

namespace fusebox {

/// Reads one step: its name, then numbers, an element type, or @constant (whose index `lookup` gives). Fails
/// with ErrorKind::Model on an unknown step or wrong arguments.
Result<plan::RecipeOp>
parseRecipeStep(std::string_view text,
                const std::function<std::optional<uint32_t>(std::string_view)> &lookup);

} // namespace fusebox
