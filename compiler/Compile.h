// The compiler as one function: a model in, a plan out. Used by the C interface (api/), the tool and tests.
//
// No MLIR shows here; compiler/Pipeline.cpp is the place to read what happens.
#pragma once

#include "compiler/Phase.h"
#include "runtime/plan/PlanFile.h"
#include "support/DType.h"
#include "support/Result.h"

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fusebox {

struct CompileOptions {
  /// "cpu" (this CPU), "cpu:x86-64-v3", "cpu:x86-64-v4+avx512bf16", "cuda:sm_90a"; a program for each. Empty:
  /// "cpu".
  std::vector<std::string> targets = {};
  /// Type of activations: BF16 or F32; the model's own if not given.
  std::optional<DType> dtype = {};
  std::string weights = "native"; ///< or "bf16": quantised weights rounded once to bf16
  std::string rounding = "sdpa";  ///< or "eager"
  std::string fusion = "none";    ///< or "certified", "score", "force"
  bool activationsInt8 = false;   ///< quantised products on 8-bit activations
  bool embedWeights = false;      ///< pack the weight files into the plan
  bool verifyWeights = false;     ///< hash weight files anew instead of trusting their time stamps

  std::optional<Phase> stopAfter = {};
  std::string startFrom = {}; ///< an IR file dumped after a phase; compilation goes on after that phase
  std::string dumpDir = {};   ///< a folder for the IR after each phase

  /// Called when a phase starts, with the share of phases done; false cancels (ErrorKind::Resource).
  std::function<bool(std::string_view phase, double fraction)> progress = {};
};

/// How long a phase took.
struct PhaseTime {
  Phase phase;
  double milliseconds;
};

/// What compilation gives.
struct CompiledPlan {
  Phase reached = Phase::Import;
  std::string ir;                   ///< after the last phase that has IR
  std::vector<std::string> remarks; ///< what was converted, fused, refused and why
  std::vector<PhaseTime> times;
  plan::PlanWriter writer; ///< complete once `reached` is Serialize
};

/// Compiles `model` (a folder, a GGUF file, or org/name in the local cache; may be empty with startFrom).
/// Fails with ErrorKind::Usage on options that don't exist, with ErrorKind::Model where the model or an
/// edited IR is at fault; the message has all diagnostics, each with the tensor, key or line it is about.
Result<CompiledPlan> compileModel(const std::string &model, const CompileOptions &options = {});

/// Path of a plan for `model` in the cache, compiled first if there is none: named by the content of all
/// files of the model, the options that shape the plan, and this build of the compiler
/// (support/ContentHash.h).
Result<std::string> cachedPlan(const std::string &model, const CompileOptions &options = {});

} // namespace fusebox
