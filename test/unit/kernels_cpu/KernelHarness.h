// Compiles a CPU kernel as a plan would and runs it on plain arrays: what the kernels' tests and benchmarks
// share.
#pragma once

#include "codegen/cpu/CpuCodegen.h"
#include "kernels/cpu/KernelAbi.h"
#include "runtime/cpu/CodeImage.h"

#include <string>
#include <vector>

namespace fusebox::cpu::test {

/// A step of tokens at given positions, one entry a sequence; sequences get KV pages in an order of their
/// own.
struct Step {
  struct Sequence {
    int32_t firstPosition = 0, tokens = 1;
  };
  Step(const std::vector<Sequence> &sequences, int32_t maxPages = 64);

  StepView view() const;

  int32_t maxPages;
  std::vector<int32_t> token, position, sequenceStart, tokenSequence, blockTable, logitsRow;
};

/// A kernel compiled for a target, all its variants. Compilations are kept for the life of the process.
class CompiledCpuKernel {
public:
  /// `forceVariant` >= 0 uses that variant for any number of rows.
  CompiledCpuKernel(const std::string &kernel, const Fields &fields, const std::string &target,
                    plan::Extent rows = plan::Extent::Tokens, Specialise specialise = Specialise::All);

  /// Runs all tasks in this thread with FTZ and DAZ set, last task first if `backwards`.
  void run(const std::vector<const void *> &args, const Step &step, int forceVariant = -1,
           bool backwards = false) const;

  /// One task, for benchmarks with threads of their own; the caller sets FTZ and DAZ.
  void runTask(int variant, void *const *args, const StepView &step, void *scratch, int64_t task) const {
    code->image.entry(code->entries[variant])(args, &step, scratch, task);
  }
  int chooseVariant(const StepView &step) const;
  int64_t tasks(int variant, const StepView &step) const;

  std::vector<KernelVariant> variants;

private:
  struct Code {
    CodeImage image;
    std::vector<uint64_t> entries;
  };
  plan::Extent rows;
  const Code *code;
};

/// Sets FTZ and DAZ, as worker threads have them, and restores what was.
class FlushDenormals {
public:
  FlushDenormals();
  ~FlushDenormals();

private:
  unsigned saved;
};

/// Targets that this machine runs.
std::vector<std::string> runnableTargets();
/// All of them for what models use most; the machine's own for the rest, or all with FUSEBOX_LONG: compiling
/// takes time.
std::vector<std::string> targetsFor(bool isCommon);

} // namespace fusebox::cpu::test
