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

/// Launches with resolved arguments. Threads walk the groups on their own. Each has a share of a group's
/// tasks, consecutive ones, so that it reads a stretch of the weights from start to end; whoever is done
/// helps others.
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
  };
  /// A group that has something to do in the current step.
  struct ActiveGroup {
    Group launches;
    uint64_t tasks; ///< numbered in sequence over the launches
    uint32_t ahead; ///< index of the next one with many weights; 0: none
  };
  /// What a plan launch does in the current step.
  struct Choice {
    KernelFn kernel;
    uint64_t tasks;
    uint64_t weightBytes; ///< of all its weights, if it has tasks
  };
  /// Tasks taken of one thread's share.
  struct alignas(64) TaskCounter {
    std::atomic<uint64_t> value = 0;
  };

  LoadedCode code;
  Bindings bindings;
  std::vector<BoundLaunch> launches;
  std::vector<Group> groups;
  std::vector<void *> args;
  std::vector<Choice> choices; ///< by plan launch
  std::vector<ActiveGroup> active;
  std::vector<std::shared_ptr<std::byte>> scratch; ///< by thread
  std::vector<TaskCounter> taken[2];               ///< by thread, for even and for odd active groups

  void flatten();
  void choose(const StepView &step, bool alone);
  void activate(std::span<const Group> some);
  void runGroups(std::span<const Group> some, const StepView &step);
  /// Tasks [first, second) of the group are `thread`'s.
  std::pair<uint64_t, uint64_t> shareOf(const ActiveGroup &group, unsigned thread) const;
  /// The weights that a thread's share of the group begins with: its part of the first launch that has many.
  std::vector<std::span<const std::byte>> weightsOf(const ActiveGroup &group, unsigned thread) const;
  void runTasks(const ActiveGroup &group, std::vector<TaskCounter> &counters, const StepView &step,
                unsigned thread);
};

} // namespace fusebox::cpu
