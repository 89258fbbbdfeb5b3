#include "passes/Passes.h"

#include "mlir/Pass/PassRegistry.h"

void fusebox::registerPasses() {
  mlir::registerPass([] { return createFusePass(); });
  mlir::registerPass([] { return createSelectKernelsPass(); });
  mlir::registerPass([] { return createPlanMemoryPass(); });
  mlir::registerPass([] { return createSchedulePass(); });
}
