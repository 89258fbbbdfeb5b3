// What `fusebox devices` prints: the devices that plans can run on here, and why others can't be used.
#pragma once

#include "runtime/plan/Program.h"
#include "support/Result.h"

#include <string>
#include <vector>

namespace fusebox {

struct DeviceInfo {
  plan::TargetKind kind = plan::TargetKind::Cpu;
  uint32_t index = 0;
  std::string name;   ///< "CPU, 16 threads", "NVIDIA H200"; for a kind without any device, the kind
  std::string target; ///< what to compile for: "cpu", "cuda:sm_90a"
  uint64_t memoryBytes = 0;
  bool usable = false;
  std::string reason; ///< if not usable: why, and what to do
};

/// All devices, CPU first. A kind that can't be used at all is one entry with the reason.
Result<std::vector<DeviceInfo>> listDevices();

/// A library that is loaded when it is needed.
struct LibraryInfo {
  std::string name, version, purpose;
  std::string reason; ///< if it can't be used: why, and what to do
};

/// The libraries that GPUs are compiled for and run with, beside the driver.
std::vector<LibraryInfo> listLibraries();

} // namespace fusebox
