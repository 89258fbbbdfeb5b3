// The analyze phase: verdicts for every sensitive node, layer and contract, as an attribute of the model.
#pragma once

#include "ir/layer/LayerOps.h"
#include "passes/analysis/Analysis.h"
#include "support/MappedFile.h"

#include "mlir/Pass/Pass.h"

#include <memory>

namespace fusebox {

/// Analyses `model` on its bound weights and sets `verdicts`; changes nothing else. A graph that the analysis
/// does not know gets a remark and no verdicts: then nothing may be fused.
mlir::LogicalResult analyzeModelOp(layer::ModelOp model, llvm::ArrayRef<MappedFile> files,
                                   const AnalysisOptions &options = {});

/// `verdicts`, an array of dictionaries {layer, node, contract, legal, basis, range, deviation_worst,
/// deviation_expected, kl, semantics_proved, range_proved, reason}; layer −1 for nodes outside of layers, NaN
/// for what doesn't apply.
mlir::ArrayAttr verdictsToAttr(mlir::MLIRContext *context, const std::vector<Verdict> &verdicts);
/// The verdicts of a model; none if it has none. Fails with a diagnostic if the attribute is malformed, or
/// was elided.
mlir::FailureOr<std::vector<Verdict>> verdictsOf(layer::ModelOp model);

/// Replaces the verdicts by their number, for dumps that people read.
void elideVerdicts(layer::ModelOp model);

/// The pass `analyze`; maps the files that bind-weights listed.
std::unique_ptr<mlir::Pass> createAnalyzePass(const AnalysisOptions &options = {});
/// Registers `analyze` and `elide-verdicts`.
void registerAnalyzePasses();

} // namespace fusebox
