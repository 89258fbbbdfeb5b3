// The lit driver: parses IR of both dialects, runs passes by name, verifies and prints.
#include "ir/layer/LayerOps.h"

#include "mlir/IR/DialectRegistry.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  registry.insert<fusebox::layer::LayerDialect>();
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "Fusebox's driver for IR and passes\n", registry));
}
