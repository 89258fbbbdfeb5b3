// The schedule as launches in the order they run, its loops unrolled.
#pragma once

#include "runtime/plan/Program.h"

namespace fusebox::plan {

/// Calls visit(launch index, layer, block, first) for each launch that a step runs, in order; `first` says
/// that the layer is its loop's first. Outside loops the layer is -1 and the block's name is empty.
template <typename Visit> void forEachLaunch(const Program &program, Visit &&visit) {
  const std::vector<Instruction> &schedule = program.schedule;
  for (size_t i = 0; i < schedule.size(); ++i) {
    if (schedule[i].kind == InstructionKind::Launch)
      visit(schedule[i].launch, int32_t(-1), std::string_view(), false);
    if (schedule[i].kind != InstructionKind::LoopBegin)
      continue;
    const Instruction &loop = schedule[i];
    size_t end = i + 1;
    while (schedule[end].kind != InstructionKind::LoopEnd)
      ++end;
    for (uint32_t layer = 0; layer < loop.count; ++layer)
      for (size_t body = i + 1; body < end; ++body)
        visit(schedule[body].launch, int32_t(loop.firstLayer + layer), std::string_view(loop.block),
              layer == 0);
    i = end;
  }
}

} // namespace fusebox::plan
