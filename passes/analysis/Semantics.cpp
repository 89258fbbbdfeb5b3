#include "passes/analysis/Semantics.h"

#include "passes/analysis/Verdict.h"

#include <cmath>
#include <fmt/format.h>

using namespace fusebox;

namespace {

using Problem = std::optional<std::string>;

/// A norm as kernels compute it: x · rsqrt(mean x² + eps) · gain, a gain for each of `elements`.
Problem normProblem(const std::optional<NormFacts> &norm, std::string_view name, int64_t elements) {
  if (!norm)
    return fmt::format("{} is absent", name);
  if (int64_t(norm->gain.size()) != elements)
    return fmt::format("{} has {} gains, {} were expected", name, norm->gain.size(), elements);
  // eps is added to a mean of squares in f32, where a smaller one is lost.
  if (!(norm->eps >= 0x1p-126) || !std::isfinite(norm->eps))
    return fmt::format("{} has eps {}, which is not a positive f32", name, norm->eps);
  return {};
}

Problem ropeProblem(const ModelFacts &facts, const KernelSemantics &kernels) {
  if (facts.rotaryDim < 0 || facts.rotaryDim > facts.headDim || facts.rotaryDim % 2 != 0)
    return fmt::format("RoPE turns {} of {} elements of a head, which is no number of pairs", facts.rotaryDim,
                       facts.headDim);
  if (facts.rotaryDim != facts.headDim && !kernels.partialRope)
    return fmt::format("RoPE turns {} of {} elements of a head; fused kernels turn whole heads",
                       facts.rotaryDim, facts.headDim);
  bool known = facts.ropeStyle == RopeStyle::HalfSplit ? kernels.halfSplitRope : kernels.interleavedRope;
  if (!known)
    return facts.ropeStyle == RopeStyle::HalfSplit ? "no fused kernel pairs (j, j + d/2) in RoPE"
                                                   : "no fused kernel pairs (2j, 2j + 1) in RoPE";
  if (facts.ropeFactor != 1 && !kernels.ropeFactor)
    return fmt::format("RoPE's cos and sin are scaled by {}, which no fused kernel does", facts.ropeFactor);
  return {};
}

Problem attentionProblem(const ModelFacts &facts, const KernelSemantics &kernels) {
  if (facts.kvHeads <= 0 || facts.heads % facts.kvHeads != 0)
    return fmt::format("{} query heads can't share {} key heads evenly", facts.heads, facts.kvHeads);
  if (!(facts.scale > 0) || !std::isfinite(facts.scale))
    return fmt::format("the scale of scores is {}", facts.scale);
  if (facts.softcap && !kernels.scoreSoftcap)
    return fmt::format("scores are capped softly at {}, which no fused kernel does", *facts.softcap);
  if (facts.window && !kernels.slidingWindow)
    return fmt::format("attention sees a window of {} positions, which no fused kernel does", *facts.window);
  return {};
}

Problem biasProblem(const LinearFacts &linear, std::string_view name, const KernelSemantics &kernels) {
  if (linear.bias.empty())
    return {};
  if (!kernels.biases)
    return fmt::format("{} has a bias, which no fused kernel adds", name);
  if (int64_t(linear.bias.size()) != linear.weight.rows)
    return fmt::format("{} has {} biases for {} rows", name, linear.bias.size(), linear.weight.rows);
  return {};
}

Problem scoresProblem(const ModelFacts &facts, const KernelSemantics &kernels, const LayerFacts &layer) {
  if (auto problem = ropeProblem(facts, kernels))
    return problem;
  if (auto problem = attentionProblem(facts, kernels))
    return problem;
  if (facts.qkNorm == QkNorm::None) {
    if (layer.qNorm || layer.kNorm)
      return "the weights hold a norm of q or k that the model's description lacks";
    return facts.placement == NormPlacement::Post ? Problem()
                                                  : normProblem(layer.attnNorm, "attn_norm", facts.hidden);
  }
  if (facts.qkNorm == QkNorm::AllHeads && !kernels.normOverAllHeads)
    return "q and k are normed over all heads at once, which no fused kernel does";
  if (auto problem = normProblem(layer.qNorm, "q_norm", facts.qkNormElements(facts.heads)))
    return problem;
  return normProblem(layer.kNorm, "k_norm", facts.qkNormElements(facts.kvHeads));
}

Problem projectionsProblem(const LayerFacts &layer, const KernelSemantics &kernels) {
  for (auto [linear, name] : {std::pair(&layer.q, "q"), std::pair(&layer.k, "k"), std::pair(&layer.v, "v")})
    if (auto problem = biasProblem(*linear, name, kernels))
      return problem;
  return {};
}

} // namespace

std::optional<std::string> fusebox::semanticProblem(const ModelFacts &facts, const KernelSemantics &kernels,
                                                    std::string_view node, int64_t layer) {
  if (node == node::logits)
    return normProblem(facts.finalNorm, "final_norm", facts.hidden);
  const LayerFacts &weights = facts.layers[size_t(layer)];
  if (node == node::attnNorm) {
    auto problem = normProblem(weights.attnNorm, "attn_norm", facts.hidden);
    return problem ? problem : projectionsProblem(weights, kernels);
  }
  if (node == node::scores)
    return scoresProblem(facts, kernels, weights);
  if (node == node::attention)
    return attentionProblem(facts, kernels);
  if (node == node::attnResidual) {
    auto problem = biasProblem(weights.o, "o", kernels);
    return problem || !weights.postAttnNorm
               ? problem
               : normProblem(weights.postAttnNorm, "post_attn_norm", facts.hidden);
  }
  if (node == node::mlpNorm)
    return normProblem(weights.mlpNorm, "mlp_norm", facts.hidden);
  if (node == node::glu && !facts.gated)
    return "the MLP has no gate, which fused kernels expect";
  if (node == node::mlpResidual) {
    auto problem = biasProblem(weights.down, "down", kernels);
    return problem || !weights.postMlpNorm ? problem
                                           : normProblem(weights.postMlpNorm, "post_mlp_norm", facts.hidden);
  }
  return {};
}
