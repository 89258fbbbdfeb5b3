// A model imported, bound and ready for the oracle. Shared by the oracle's tests.
#pragma once

#include "frontends/import/ImportModel.h"
#include "ir/interpreter/Interpreter.h"
#include "test/golden/Golden.h"

#include "mlir/IR/MLIRContext.h"

namespace fusebox::test {

/// The whole front half of the compiler. Errors end the test program.
struct OracleModel {
  OracleModel(const std::string &path, const ImportOptions &options);

  layer::ModelOp model() { return *module->getOps<layer::ModelOp>().begin(); }
  oracle::Tensor run(std::span<const int32_t> tokens, oracle::Mode mode,
                     const oracle::Observer &observer = nullptr);

  mlir::MLIRContext context{mlir::MLIRContext::Threading::DISABLED};
  mlir::OwningOpRef<mlir::ModuleOp> module;
  oracle::WeightRows weights;
};

} // namespace fusebox::test
