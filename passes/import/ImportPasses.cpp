#include "passes/import/ImportPasses.h"

#include "frontends/import/ImportModel.h"
#include "ir/layer/LayerOps.h"
#include "passes/bind-weights/BindWeights.h"

#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassRegistry.h"

using namespace mlir;
using namespace fusebox;

namespace {

/// Reports an error of a reader at the module.
InFlightDiagnostic report(Operation *op, const Error &error) { return op->emitError(error.message); }

struct ImportModelPass : PassWrapper<ImportModelPass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(ImportModelPass)
  ImportModelPass() = default;
  ImportModelPass(const ImportModelPass &other) : PassWrapper(other) {}
  StringRef getArgument() const final { return "import-model"; }
  StringRef getDescription() const final { return "Build the model that a folder or GGUF file describes"; }
  void getDependentDialects(DialectRegistry &registry) const final { registry.insert<layer::LayerDialect>(); }

  Option<std::string> model{*this, "model", llvm::cl::desc("Folder, GGUF file or name")};
  Option<std::string> dtype{*this, "dtype", llvm::cl::desc("Type of activations: bf16, f32, f64")};
  Option<bool> eager{*this, "eager", llvm::cl::desc("Round as Hugging Face's eager attention does")};
  Option<bool> bf16Weights{*this, "bf16-weights", llvm::cl::desc("Keep all weights in bf16")};
  Option<bool> configOnly{*this, "config-only",
                          llvm::cl::desc("Read the description of a folder without weights")};

  LogicalResult import() {
    ImportOptions options;
    if (!dtype.empty() && !(options.dtype = dtypeFromName(dtype.getValue())))
      return getOperation().emitError("no type is named '") << dtype.getValue() << "'";
    options.rounding = eager ? ReferenceRounding::Eager : ReferenceRounding::Sdpa;
    options.weights = bf16Weights ? WeightTypes::BF16 : WeightTypes::Native;
    auto imported = configOnly ? fromDescription(options) : fromModel(options);
    if (failed(imported))
      return failure();
    getOperation().getBody()->getOperations().splice(getOperation().getBody()->begin(),
                                                     (*imported)->getBody()->getOperations());
    return success();
  }

  FailureOr<OwningOpRef<ModuleOp>> fromModel(const ImportOptions &options) {
    Result<LoadedModel> loaded = loadModel(model);
    if (!loaded)
      return report(getOperation(), loaded.error());
    return importModel(getContext(), *loaded, options);
  }

  FailureOr<OwningOpRef<ModuleOp>> fromDescription(const ImportOptions &options) {
    Result<ModelSpec> spec = readModelSpec(model);
    if (!spec)
      return report(getOperation(), spec.error());
    return importModel(getContext(), *spec, options);
  }

  void runOnOperation() override {
    if (failed(import()))
      signalPassFailure();
  }
};

struct BindWeightsPass : PassWrapper<BindWeightsPass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(BindWeightsPass)
  BindWeightsPass() = default;
  BindWeightsPass(const BindWeightsPass &other) : PassWrapper(other) {}
  StringRef getArgument() const final { return "bind-weights"; }
  StringRef getDescription() const final { return "Tie parameters to tensors in the model's files"; }

  Option<std::string> model{*this, "model", llvm::cl::desc("Folder, GGUF or safetensors file")};

  void runOnOperation() override {
    Result<Checkpoint> checkpoint = Checkpoint::open(model);
    if (!checkpoint) {
      report(getOperation(), checkpoint.error());
      return signalPassFailure();
    }
    for (auto op : getOperation().getOps<layer::ModelOp>())
      if (failed(bindWeights(op, *checkpoint)))
        return signalPassFailure();
  }
};

} // namespace

void fusebox::registerImportPasses() {
  PassRegistration<ImportModelPass>();
  PassRegistration<BindWeightsPass>();
}
