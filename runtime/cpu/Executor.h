// Runs a bound program on the CPU: the schedule unrolled into groups of launches between barriers.
#pragma once

#include "runtime/cpu/CodeImage.h"
#include "runtime/cpu/ThreadPool.h"
#include "runtime/device/Device.h"

#include <atomic>
#include <memory>
#include <vector>

namespace fusebox::cpu {

/// A program's code in memory with the threads that run it.
struct LoadedCode {
  const plan::Program *program = nullptr;
  CodeImage image;
  std::shared_ptr<ThreadPool> pool;
};

/// Launches with resolved arguments. Threads walk the groups on their own and take tasks from one counter.
class Executor {
public:
  static Result<std::shared_ptr<Executor>> create(const LoadedCode &code, Bindings bindings);
  Result<void> run(const StepView &step, const LaunchObserver &observer);

private:
  struct BoundLaunch {
    uint32_t launch; ///< index into program.launches
    int32_t layer;   ///< -1 outside loops
    std::string_view block;
    uint32_t firstArg; ///< index into args
  };
  /// Launches [first, end) may run at the same time.
  struct Group {
    uint32_t first, end;
    uint32_t ahead = 0; ///< index into weightsAhead
  };
  /// What a plan launch does in the current step.
  struct Choice {
    KernelFn kernel;
    uint64_t tasks;
  };

  LoadedCode code;
  Bindings bindings;
  std::vector<BoundLaunch> launches;
  std::vector<Group> groups;
  std::vector<void *> args;
  std::vector<Choice> choices; ///< by plan launch
  /// What a thread that has nothing to do reads ahead: the weights of the next group that has many.
  std::vector<std::vector<std::span<const std::byte>>> weightsAhead;
  std::vector<std::shared_ptr<std::byte>> scratch; ///< by thread
  alignas(64) std::atomic<uint64_t> nextTask = 0;

  void flatten();
  void findWeightsAhead();
  void choose(const StepView &step, bool alone);
  void runGroups(std::span<const Group> some, const StepView &step);
  void runTasks(const Group &group, const StepView &step, void *threadScratch);
};

} // namespace fusebox::cpu
