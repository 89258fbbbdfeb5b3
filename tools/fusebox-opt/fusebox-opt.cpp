// The lit driver: parses IR, runs passes by name, verifies and prints.
#include "ir/layer/LayerOps.h"
#include "passes/analyze/Analyze.h"
#include "passes/import/ImportPasses.h"

#include "mlir/IR/DialectRegistry.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  registry.insert<fusebox::layer::LayerDialect>();
  fusebox::registerImportPasses();
  fusebox::registerAnalyzePasses();
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "Fusebox's driver for IR and passes\n", registry));
}
