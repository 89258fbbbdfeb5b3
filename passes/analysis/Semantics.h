// The semantic gate: does the model mean what fused kernels compute?
#pragma once

#include "passes/analysis/Facts.h"

#include <optional>
#include <string>
#include <string_view>

namespace fusebox {

/// What the fused kernels of a build declare they can express. Anything else runs on standard kernels.
struct KernelSemantics {
  bool halfSplitRope = true, interleavedRope = true;
  bool partialRope = false;      ///< RoPE on part of a head
  bool ropeFactor = false;       ///< cos and sin times a factor (YaRN)
  bool normOverAllHeads = false; ///< QK-norm over all heads at once
  bool scoreSoftcap = false;
  bool slidingWindow = false;
  bool biases = true;
};

/// Why the node's meaning is not proved to be the fused kernels', or nothing if it is.
std::optional<std::string> semanticProblem(const ModelFacts &facts, const KernelSemantics &kernels,
                                           std::string_view node, int64_t layer);

} // namespace fusebox
