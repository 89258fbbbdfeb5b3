// A model imported, bound and ready for the oracle; and how far two results are apart. Shared by the oracle's
// tests.
#pragma once

#include "frontends/import/ImportModel.h"
#include "ir/interpreter/Interpreter.h"

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

/// Reference values of a golden: a tensor of its expected.safetensors.
class Expected {
public:
  explicit Expected(const std::string &path);
  std::vector<double> floats(const std::string &name) const; ///< F32 or F64
  std::vector<int32_t> ids(const std::string &name) const;   ///< I64

private:
  Checkpoint file;
  const StoredTensor &tensor(const std::string &name) const;
};

/// ‖a − b‖ / ‖b‖.
double relativeError(std::span<const double> a, std::span<const double> b);

} // namespace fusebox::test
