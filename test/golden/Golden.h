// The reference outputs in test/data/golden. Shared by tests of the oracle, of plans and of GPUs.
#pragma once

#include "frontends/Checkpoint.h"

#include <cmath>
#include <span>
#include <string>
#include <vector>

namespace fusebox::test {

/// Names of the tiny golden models.
inline constexpr const char *goldenNames[] = {"qwen3",      "qwen3-extreme-k", "llama",
                                              "llama-tied", "llama31-rope",    "ernie4_5"};

/// Reference values of a golden: tensors of its expected.safetensors, widened. An error ends the program.
class Expected {
public:
  explicit Expected(const std::string &folder);
  std::vector<double> reals(const std::string &name) const; ///< F32 or F64
  std::vector<int32_t> ids(const std::string &name) const;  ///< I64

private:
  Checkpoint file;
  const StoredTensor &tensor(const std::string &name) const;
};

/// ‖a − b‖ / ‖b‖.
template <typename T> double relativeError(const std::vector<T> &a, const std::vector<double> &b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    size += b[i] * b[i];
  }
  return std::sqrt(difference / size);
}

} // namespace fusebox::test
