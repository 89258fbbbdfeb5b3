// The first two phases as passes by name, for fusebox-opt. The compiler calls importModel and bindWeights
// itself.
#pragma once

namespace fusebox {

/// Registers `import-model` (an empty module becomes the model that `model=` names; options dtype, rounding,
/// weights) and `bind-weights` (of the same `model=`).
void registerImportPasses();

} // namespace fusebox
