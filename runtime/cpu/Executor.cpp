#include "runtime/cpu/Executor.h"

#include "runtime/cpu/HostMemory.h"
#include "runtime/cpu/ReadAhead.h"
#include "runtime/device/Address.h"
#include "runtime/plan/Schedule.h"

#include <algorithm>
#include <cstring>

using namespace fusebox;
using namespace fusebox::cpu;

/// Weights of this many bytes and more are read ahead; less comes quickly anyway.
static constexpr uint64_t worthReadingAhead = 64 << 10;

/// So many other threads at most are helped by one that has done its own tasks.
static constexpr unsigned mostHelped = 8;

Result<std::shared_ptr<Executor>> Executor::create(const LoadedCode &code, Bindings bindings) {
  auto executor = std::make_shared<Executor>();
  executor->code = code;
  executor->bindings = std::move(bindings);
  uint64_t scratchBytes = 0;
  for (const plan::Kernel &kernel : code.program->kernels)
    scratchBytes = std::max(scratchBytes, kernel.scratchBytes);
  for (unsigned thread = 0; thread < code.pool->threads(); ++thread) {
    FUSEBOX_ASSIGN(auto memory, allocatePages(scratchBytes, "the kernels' scratch"));
    executor->scratch.push_back(std::move(memory));
  }
  for (std::vector<TaskCounter> &counters : executor->taken)
    counters = std::vector<TaskCounter>(code.pool->threads());
  executor->flatten();
  return executor;
}

void Executor::flatten() {
  const plan::Program &program = *code.program;
  plan::forEachLaunch(program, [&](uint32_t index, int32_t layer, std::string_view block, bool) {
    const plan::Launch &launch = program.launches[index];
    uint32_t position = uint32_t(launches.size());
    launches.push_back({index, layer, block, uint32_t(args.size())});
    for (const plan::Arg &arg : launch.args)
      args.push_back(addressOf(program, bindings, arg, layer));
    if (launch.barrierBefore || groups.empty())
      groups.push_back({position, position});
    groups.back().end = position + 1;
  });
}

void Executor::choose(const StepView &step, bool alone) {
  const plan::Program &program = *code.program;
  choices.clear();
  const uint64_t keys = keysSeen(step);
  for (const plan::Launch &launch : program.launches) {
    const plan::Variant &variant = selectVariant(launch, step, keys, alone);
    uint64_t tasks =
        gridSize(variant.grid[0], step) * gridSize(variant.grid[1], step) * gridSize(variant.grid[2], step);
    if (extentUnits(step, launch.rows) == 0)
      tasks = 0;
    uint64_t weightBytes = 0;
    for (const plan::Arg &arg : launch.args)
      if (tasks != 0 && arg.kind == plan::ArgKind::Weight)
        weightBytes += program.weights[arg.index].bytes;
    choices.push_back({code.image.entry(program.kernels[variant.kernel].entry), tasks, weightBytes});
  }
}

Result<void> Executor::run(const StepView &step, const LaunchObserver &observer) {
  choose(step, bool(observer));
  if (!observer) {
    runGroups(groups, step);
    return {};
  }
  for (uint32_t i = 0; i < launches.size(); ++i) {
    Group alone = {i, i + 1};
    runGroups({&alone, 1}, step);
    if (choices[launches[i].launch].tasks != 0)
      FUSEBOX_TRY(observer({launches[i].launch, launches[i].layer, launches[i].block}));
  }
  return {};
}

void Executor::activate(std::span<const Group> some) {
  active.clear();
  for (const Group &group : some) {
    ActiveGroup next = {group, 0, 0};
    uint64_t weightBytes = 0;
    for (uint32_t i = group.first; i < group.end; ++i) {
      next.tasks += choices[launches[i].launch].tasks;
      weightBytes += choices[launches[i].launch].weightBytes;
    }
    if (next.tasks == 0)
      continue;
    if (weightBytes >= worthReadingAhead)
      for (size_t before = active.size(); before-- > 0 && active[before].ahead == 0;)
        active[before].ahead = uint32_t(active.size());
    active.push_back(next);
  }
}

void Executor::runGroups(std::span<const Group> some, const StepView &step) {
  activate(some);
  for (TaskCounter &counter : taken[0])
    counter.value.store(0, std::memory_order_relaxed);
  code.pool->run([&](unsigned thread) {
    ReadAhead readAhead;
    uint32_t ahead = 0;
    for (size_t g = 0; g < active.size(); ++g) {
      if (g != 0)
        code.pool->barrier([] {},
                           [&] {
                             uint32_t next = active[g - 1].ahead;
                             if (next != ahead)
                               readAhead.start(weightsOf(active[next], thread));
                             ahead = next;
                             return next != 0 && readAhead.step();
                           });
      // All have left the group before this one, and none has begun the next.
      taken[(g + 1) % 2][thread].value.store(0, std::memory_order_relaxed);
      runTasks(active[g], taken[g % 2], step, thread);
    }
  });
}

std::pair<uint64_t, uint64_t> Executor::shareOf(const ActiveGroup &group, unsigned thread) const {
  uint64_t threads = code.pool->threads();
  return {group.tasks * thread / threads, group.tasks * (thread + 1) / threads};
}

std::vector<std::span<const std::byte>> Executor::weightsOf(const ActiveGroup &group, unsigned thread) const {
  auto [begin, end] = shareOf(group, thread);
  std::vector<std::span<const std::byte>> weights;
  uint64_t base = 0;
  for (uint32_t i = group.launches.first; base < end && weights.empty(); ++i) {
    const BoundLaunch &launch = launches[i];
    const Choice &choice = choices[launch.launch];
    uint64_t first = std::max(begin, base) - base, last = std::min(end - base, choice.tasks);
    base += choice.tasks;
    if (choice.weightBytes < worthReadingAhead || first >= last)
      continue;
    // Tasks take equal parts of each weight, in order.
    const std::vector<plan::Arg> &planArgs = code.program->launches[launch.launch].args;
    for (size_t a = 0; a < planArgs.size(); ++a)
      if (planArgs[a].kind == plan::ArgKind::Weight) {
        uint64_t bytes = code.program->weights[planArgs[a].index].bytes;
        auto *start = static_cast<const std::byte *>(args[launch.firstArg + a]);
        weights.emplace_back(start + bytes * first / choice.tasks, start + bytes * last / choice.tasks);
      }
  }
  return weights;
}

void Executor::runTasks(const ActiveGroup &group, std::vector<TaskCounter> &counters, const StepView &step,
                        unsigned thread) {
  unsigned threads = code.pool->threads();
  void *memory = scratch[thread].get();
  const BoundLaunch *current = nullptr;
  for (unsigned i = 0; i < std::min(threads, 1 + mostHelped); ++i) {
    unsigned owner = (thread + i) % threads;
    auto [begin, end] = shareOf(group, owner);
    std::atomic<uint64_t> &counter = counters[owner].value;
    // Looked at before it is counted up: once all is taken, it can stay in every thread's cache.
    while (begin + counter.load(std::memory_order_relaxed) < end) {
      uint64_t task = begin + counter.fetch_add(1, std::memory_order_relaxed);
      if (task >= end)
        break;
      const BoundLaunch *launch = &launches[group.launches.first];
      for (; task >= choices[launch->launch].tasks; ++launch)
        task -= choices[launch->launch].tasks;
      if (launch != current && memory)
        std::memset(memory, 0, scratchMarkBytes);
      current = launch;
      choices[launch->launch].kernel(args.data() + launch->firstArg, &step, memory, int64_t(task));
    }
  }
}
