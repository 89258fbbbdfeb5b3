// A model compiled to a plan in memory and opened. Shared by end-to-end tests.
#pragma once

#include "compiler/Compile.h"
#include "runtime/session/Session.h"
#include "test/golden/Golden.h"

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

} // namespace fusebox::test
