// Whole models on a GPU: compiled, opened and run as a user would. Checks and timings of the device suite;
// docs/gpu.md explains what they print.
#pragma once

#include "compiler/Compile.h"
#include "frontends/Checkpoint.h"
#include "runtime/session/Session.h"

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace fusebox::gpumodels {

/// Ends the program with a message.
[[noreturn]] void fail(const std::string &message);
template <class T> T expect(Result<T> result) {
  if (!result)
    fail(result.error().message);
  return std::move(*result);
}
inline void expect(const Result<void> &result) {
  if (!result)
    fail(result.error().message);
}

struct Options {
  std::string target; ///< "cuda:sm_90a"
  std::string goldens, models;
  double bandwidth = 0, peak = 0; ///< bytes and operations a second, measured; 0: not known
};

/// Compiles a model and opens it on the GPU.
std::unique_ptr<Session> openModel(const Options &options, const std::string &model,
                                   std::optional<DType> dtype, SessionOptions session);

/// Runs one step of one sequence and returns the logits of its last `rows` tokens.
std::vector<float> step(Session &session, uint32_t slot, std::span<const int32_t> tokens, size_t rows);

/// Prints one line; returns 1 if it failed.
int report(const std::string &name, bool passed, const std::string &text);

/// The tiny golden models against their reference outputs. Returns the number of failures.
int checkGoldens(const Options &options);
/// Bits of a token whatever runs beside it and however its prompt was cut.
int checkIndependence(const Options &options, const std::string &model, const std::string &name);
/// Times of full-size models beside their floors.
int benchModel(const Options &options, const std::string &folder);

} // namespace fusebox::gpumodels
