// The lit driver: parses IR, runs passes by name, verifies and prints.
#include "codegen/plan/GenerateCode.h"
#include "ir/layer/LayerOps.h"
#include "ir/plan/PlanOps.h"
#include "passes/Passes.h"
#include "passes/analyze/Analyze.h"
#include "passes/import/ImportPasses.h"

#include "mlir/IR/DialectRegistry.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  registry.insert<fusebox::layer::LayerDialect, fusebox::plan::PlanDialect>();
  fusebox::registerImportPasses();
  fusebox::registerAnalyzePasses();
  fusebox::registerPasses();
  mlir::registerPass([] { return fusebox::createGenerateCodePass(); });
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "Fusebox's driver for IR and passes\n", registry));
}
