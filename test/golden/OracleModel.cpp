#include "test/golden/OracleModel.h"

#include "ir/interpreter/BoundWeights.h"
#include "passes/bind-weights/BindWeights.h"

#include "mlir/IR/Verifier.h"
#include "llvm/Support/ErrorHandling.h"

using namespace fusebox;
using namespace fusebox::test;

template <typename T> static T orDie(Result<T> result) {
  if (!result)
    llvm::report_fatal_error(llvm::StringRef(result.error().message));
  return std::move(*result);
}

OracleModel::OracleModel(const std::string &path, const ImportOptions &options) {
  LoadedModel loaded = orDie(loadModel(path));
  auto imported = importModel(context, loaded, options);
  if (failed(imported))
    llvm::report_fatal_error("import failed");
  module = std::move(*imported);
  if (failed(bindWeights(model(), loaded.checkpoint)) || failed(mlir::verify(*module)))
    llvm::report_fatal_error("binding failed");
  weights = orDie(oracle::boundWeights(model(), loaded.checkpoint.files()));
}

oracle::Tensor OracleModel::run(std::span<const int32_t> tokens, oracle::Mode mode,
                                const oracle::Observer &observer) {
  return orDie(oracle::interpret(model(), weights, tokens, mode, observer));
}
