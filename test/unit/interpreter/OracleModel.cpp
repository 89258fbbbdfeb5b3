#include "OracleModel.h"

#include "ir/interpreter/BoundWeights.h"
#include "passes/bind-weights/BindWeights.h"

#include "mlir/IR/Verifier.h"
#include "llvm/Support/ErrorHandling.h"

#include <cmath>
#include <cstring>

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

Expected::Expected(const std::string &path) : file(orDie(Checkpoint::open(path))) {}

const StoredTensor &Expected::tensor(const std::string &name) const {
  const StoredTensor *found = file.find(name);
  if (!found)
    llvm::report_fatal_error("no such reference value");
  return *found;
}

template <typename Stored, typename T> static std::vector<T> read(std::span<const std::byte> bytes) {
  std::vector<T> out;
  for (size_t i = 0; i < bytes.size(); i += sizeof(Stored)) {
    Stored value;
    std::memcpy(&value, bytes.data() + i, sizeof value);
    out.push_back(T(value));
  }
  return out;
}

std::vector<double> Expected::floats(const std::string &name) const {
  const StoredTensor &found = tensor(name);
  return found.dtype == DType::F64 ? read<double, double>(file.data(found))
                                   : read<float, double>(file.data(found));
}

std::vector<int32_t> Expected::ids(const std::string &name) const {
  return read<int64_t, int32_t>(file.data(tensor(name)));
}

double fusebox::test::relativeError(std::span<const double> a, std::span<const double> b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    size += b[i] * b[i];
  }
  return std::sqrt(difference / size);
}
