// Runs of a model by the oracle with roundings in chosen nodes only. Private to check/measure.
#pragma once

#include "frontends/LoadModel.h"
#include "ir/interpreter/Interpreter.h"
#include "ir/layer/LayerOps.h"
#include "passes/analysis/Facts.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"

#include <memory>
#include <set>
#include <span>
#include <string_view>
#include <vector>

namespace fusebox {

/// q and k as the scores read them: [rows, heads · d] and [rows, key heads · d].
struct Sides {
  oracle::Tensor q, k;
};

/// One run in real numbers, but for the chosen node.
struct ModelRun {
  std::vector<oracle::Tensor>
      inputs;               ///< the hidden vectors that enter each layer, and those that leave the last
  std::vector<Sides> sides; ///< of each layer
  oracle::Tensor logits;
};

/// A node under contract fast: the operations that round, and the weights that are rounded anew with the gain
/// of the norm before them folded in.
struct FastNode {
  std::string_view node;
  std::set<std::string_view> rounding, folded;
};
/// The layers' nodes whose contract fast the oracle computes, but for the scores.
std::span<const FastNode> fastNodes();

/// The value in the type of the model's activations.
double roundTo(const ModelFacts &facts, double value);
oracle::Tensor rounded(const ModelFacts &facts, oracle::Tensor tensor);

/// KL(softmax(exact) ‖ softmax(other)) in nat.
double klDivergence(std::span<const double> exact, std::span<const double> other);

class LayerRunner {
public:
  /// `model` and `facts` must outlive it.
  static Result<LayerRunner> make(const LoadedModel &model, const ModelFacts &facts);

  /// The whole model; with `fast`, that node under contract fast in all layers.
  Result<ModelRun> run(std::span<const int32_t> ids, const FastNode *fast = nullptr) const;

  /// q and k of a layer from its exact input, with the model's own roundings on their way to the scores;
  /// `folded`: those of contract fast.
  Sides sidesOf(int64_t layer, const ModelRun &exact, bool folded) const;

  /// The logits from exact hidden vectors, the final norm and lm_head under contract fast.
  oracle::Tensor fastLogits(const ModelRun &exact) const;

private:
  oracle::WeightRows foldedWeights(std::set<std::string_view> roles) const;

  const ModelFacts *facts = nullptr;
  std::unique_ptr<mlir::MLIRContext> context;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  layer::ModelOp op;
  oracle::WeightRows weights;
};

} // namespace fusebox
