// A model compiled to a plan in memory and opened, and reference values to compare with. Shared by end-to-end
// tests.
#pragma once

#include "compiler/Compile.h"
#include "frontends/Checkpoint.h"
#include "runtime/session/Session.h"

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace fusebox::test {

/// The folder of a golden model.
std::string golden(const std::string &name);

/// Compiles; an error fails the test and gives nothing.
std::optional<CompiledPlan> compile(const std::string &model, const CompileOptions &options = {});

/// A golden's plan, compiled at its first use. An error ends the test program.
const CompiledPlan &compiledGolden(const std::string &name, DType dtype = DType::BF16);

/// A session on a plan in memory; an error fails the test and gives null.
std::unique_ptr<Session> open(const CompiledPlan &plan, const SessionOptions &options = {});

/// Runs one step of one sequence in slot `slot` and gives all its logits, row-major; empty after a failure.
std::vector<float> step(Session &session, std::span<const int32_t> tokens, uint32_t slot = 0);

/// Reference values of a golden: tensors of its expected.safetensors, widened.
class Expected {
public:
  explicit Expected(const std::string &folder);
  std::vector<double> reals(const std::string &name) const; ///< F32 or F64
  std::vector<int32_t> ids(const std::string &name) const;  ///< I64

private:
  Checkpoint file;
};

/// ‖a − b‖ / ‖b‖.
double relativeError(std::span<const float> a, std::span<const double> b);

/// Names of the tiny golden models.
inline constexpr const char *goldenNames[] = {"qwen3",      "qwen3-extreme-k", "llama",
                                              "llama-tied", "llama31-rope",    "ernie4_5"};

} // namespace fusebox::test
