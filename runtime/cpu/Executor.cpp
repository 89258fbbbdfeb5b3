#include "runtime/cpu/Executor.h"

#include "runtime/cpu/HostMemory.h"
#include "runtime/cpu/ReadAhead.h"
#include "runtime/device/Address.h"
#include "runtime/plan/Schedule.h"

#include <algorithm>

using namespace fusebox;
using namespace fusebox::cpu;

/// Weights are read ahead only for groups that have this many bytes of them; less comes quickly anyway.
static constexpr uint64_t worthReadingAhead = 64 << 10;

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
  executor->flatten();
  executor->findWeightsAhead();
  return executor;
}

void Executor::flatten() {
  const plan::Program &program = *code.program;
  plan::forEachLaunch(program, [&](uint32_t index, int32_t layer, std::string_view block) {
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

void Executor::findWeightsAhead() {
  const plan::Program &program = *code.program;
  weightsAhead.resize(1); // nothing, for the groups at the end
  for (size_t g = groups.size(); g-- > 0;) {
    std::vector<std::span<const std::byte>> weights;
    uint64_t bytes = 0;
    for (uint32_t i = groups[g].first; i < groups[g].end; ++i) {
      const std::vector<plan::Arg> &planArgs = program.launches[launches[i].launch].args;
      for (size_t a = 0; a < planArgs.size(); ++a)
        if (planArgs[a].kind == plan::ArgKind::Weight) {
          uint64_t size = program.weights[planArgs[a].index].bytes;
          weights.emplace_back(static_cast<const std::byte *>(args[launches[i].firstArg + a]), size);
          bytes += size;
        }
    }
    if (bytes >= worthReadingAhead)
      weightsAhead.push_back(std::move(weights));
    groups[g].ahead = uint32_t(weightsAhead.size() - 1);
  }
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
    choices.push_back({code.image.entry(program.kernels[variant.kernel].entry), tasks});
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

void Executor::runGroups(std::span<const Group> some, const StepView &step) {
  nextTask.store(0, std::memory_order_relaxed);
  code.pool->run([&](unsigned thread) {
    bool first = true;
    ReadAhead readAhead(thread, code.pool->threads());
    for (const Group &group : some) {
      uint64_t tasks = 0;
      for (uint32_t i = group.first; i < group.end; ++i)
        tasks += choices[launches[i].launch].tasks;
      if (tasks == 0)
        continue;
      if (!first)
        code.pool->barrier([&] { nextTask.store(0, std::memory_order_relaxed); },
                           [&] { return readAhead.step(group.ahead, weightsAhead[group.ahead]); });
      first = false;
      runTasks(group, step, scratch[thread].get());
    }
  });
}

void Executor::runTasks(const Group &group, const StepView &step, void *threadScratch) {
  // Tasks of the group's launches are numbered in sequence; a thread's numbers only grow.
  uint32_t current = group.first;
  uint64_t base = 0;
  for (;;) {
    uint64_t task = nextTask.fetch_add(1, std::memory_order_relaxed);
    while (task - base >= choices[launches[current].launch].tasks) {
      base += choices[launches[current].launch].tasks;
      if (++current == group.end)
        return;
    }
    const BoundLaunch &launch = launches[current];
    choices[launch.launch].kernel(args.data() + launch.firstArg, &step, threadScratch, int64_t(task - base));
  }
}
