// Whole models on a GPU, from plans, opened and run as a user would. Checks and timings of the device suite;
// tools/test-gpu.sh and tools/bench-gpu.sh make the plans and call it, docs/gpu.md explains what it prints.
// It needs no compiler, so that it runs where only a GPU is.
#pragma once

#include "runtime/session/Session.h"
#include "test/golden/Golden.h"

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace fusebox::gpumodels {

using test::Expected, test::goldenNames, test::relativeError;

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
  std::string plans;              ///< folder of NAME.bf16.plan and NAME.f32.plan
  std::string goldens;            ///< test/data/golden
  double bandwidth = 0, peak = 0; ///< bytes and operations a second, measured; 0: not known
};

/// A plan of the folder: of a model's name and a type.
plan::PlanReader readPlan(const Options &options, const std::string &name, const std::string &type);
/// The same plan for the files of that name and size in `weights`, whatever is in them: weights that are only
/// timed are random, and need not be those the plan was made beside.
plan::PlanReader withFilesOf(const plan::PlanReader &plan, const std::string &weights);
/// Opens a plan on the GPU; `weights` is the folder with the model's files.
std::unique_ptr<Session> openPlan(const plan::PlanReader &plan, const std::string &weights,
                                  SessionOptions session = {});

/// The last part of a path.
std::string lastPart(const std::string &path);

/// Runs one step of one sequence and returns the logits of its last `rows` tokens.
std::vector<float> step(Session &session, uint32_t slot, std::span<const int32_t> tokens, size_t rows);
/// Runs one step of slot 0 and returns its most likely next token, chosen on the device.
int32_t greedyStep(Session &session, std::span<const int32_t> tokens);

/// A line for printing.
std::string format(const char *pattern, ...) __attribute__((format(printf, 1, 2)));
/// Prints one line; returns 1 if it failed.
int report(const std::string &name, bool passed, const std::string &text);

// Each returns the number of failures.

/// The tiny golden models against their reference outputs.
int checkGoldens(const Options &options);
/// Of some goldens, what does not depend on batch, chunks or the way a token is chosen.
int checkGoldenIndependence(const Options &options);
/// Bits of a token whatever runs beside it and however its prompt was cut; the largest logits as sorting
/// finds them.
int checkIndependence(const plan::PlanReader &plan, const std::string &name, const std::string &weights);
/// Text sampled from what the device finds against text sampled from all logits.
int checkSampling(const plan::PlanReader &plan, const std::string &name, const std::string &weights);
/// SmolLM2-135M from its GGUF: five prompts, as the reference continues them.
int checkSmolLm2(const Options &options, const std::string &gguf);
/// A kernel that reads outside memory, or one that does not return: the message names it and its node. The
/// GPU's context is lost, so each is a run of the program by itself.
int checkFault(const Options &options, const std::string &kind);
/// Times of a full-size model beside their floors.
int benchModel(const Options &options, const plan::PlanReader &plan, const std::string &weights);

} // namespace fusebox::gpumodels
