#include "passes/analyze/Analyze.h"

#include "passes/analyze/FactsFromIr.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Pass/PassRegistry.h"

using namespace mlir;
using namespace fusebox;

LogicalResult fusebox::analyzeModelOp(layer::ModelOp model, ArrayRef<MappedFile> files,
                                      const AnalysisOptions &options) {
  FailureOr<ModelFacts> facts = failure();
  std::string problem;
  {
    // An unknown graph is no error: it is compiled, unfused.
    ScopedDiagnosticHandler handler(model.getContext(), [&](Diagnostic &diagnostic) {
      problem += (problem.empty() ? "" : "; ") + diagnostic.str();
      return success();
    });
    facts = factsFromIr(model, files);
  }
  if (failed(facts)) {
    model.emitRemark("is not analysed, so nothing is fused: ") << problem;
    model.setVerdictsAttr(ArrayAttr::get(model.getContext(), {}));
    return success();
  }
  Analysis analysis = analyzeModel(*facts, options);
  model.setVerdictsAttr(verdictsToAttr(model.getContext(), analysis.verdicts));
  return success();
}

namespace {

struct AnalyzePass : PassWrapper<AnalyzePass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(AnalyzePass)
  AnalyzePass() = default;
  explicit AnalyzePass(const AnalysisOptions &options) : options(options) { klBudget = options.klBudget; }
  AnalyzePass(const AnalyzePass &other) : PassWrapper(other), options(other.options) {}
  StringRef getArgument() const final { return "analyze"; }
  StringRef getDescription() const final { return "Judge every node on the model's real weights"; }

  Option<double> klBudget{*this, "kl-budget",
                          llvm::cl::desc("KL divergence in nat that contract fast may cost"),
                          llvm::cl::init(1e-3)};

  LogicalResult analyze(layer::ModelOp model) {
    SmallVector<MappedFile> files;
    ArrayAttr paths = model.getFilesAttr();
    if (!paths)
      return model.emitError("has no weights yet; run bind-weights first");
    for (Attribute path : paths) {
      auto file = MappedFile::open(cast<StringAttr>(path).getValue().str());
      if (!file)
        return model.emitError(file.error().message);
      files.push_back(std::move(*file));
    }
    options.klBudget = klBudget;
    return analyzeModelOp(model, files, options);
  }

  void runOnOperation() override {
    for (auto model : getOperation().getOps<layer::ModelOp>())
      if (failed(analyze(model)))
        return signalPassFailure();
  }
  AnalysisOptions options;
};

struct ElideVerdictsPass : PassWrapper<ElideVerdictsPass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(ElideVerdictsPass)
  StringRef getArgument() const final { return "elide-verdicts"; }
  StringRef getDescription() const final { return "Replace verdicts by their number, for reading"; }
  void runOnOperation() override {
    for (auto model : getOperation().getOps<layer::ModelOp>())
      elideVerdicts(model);
  }
};

} // namespace

std::unique_ptr<Pass> fusebox::createAnalyzePass(const AnalysisOptions &options) {
  return std::make_unique<AnalyzePass>(options);
}

void fusebox::registerAnalyzePasses() {
  PassRegistration<AnalyzePass>();
  PassRegistration<ElideVerdictsPass>();
}
