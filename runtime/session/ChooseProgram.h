// Which of a plan's programs runs here.
#pragma once

#include "runtime/device/Device.h"
#include "runtime/plan/PlanFile.h"
#include "runtime/session/Session.h"

#include <memory>

namespace fusebox {

/// A program that this machine can run, and the device for it.
struct ProgramChoice {
  std::shared_ptr<const plan::Program> program;
  uint32_t target = 0;
  Device device;
};

/// Kinds of device in the plan's order (or the one that is asked for): of the first that is here, the program
/// whose code is for this very chip, else the first whose sources can be compiled for it. Fails with each
/// program's reason.
Result<ProgramChoice> chooseProgram(const plan::PlanReader &plan, const SessionOptions &options);

} // namespace fusebox
