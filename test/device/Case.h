// A case of the device suite: the kernels it needs, which can be compiled with no GPU, and a run that checks
// or times them.
#pragma once

#include "test/device/Gpu.h"

namespace fusebox::gputest {

struct Outcome {
  bool passed = true;
  std::string text; ///< one short line
};

struct Case {
  std::string name;
  std::vector<cuda::KernelRequest> kernels;
  std::function<Outcome(Gpu &)> run;
};

/// Kernels against references in f64 with the rounding points of the contract.
void addNormCases(std::vector<Case> &cases);
void addLinearCases(std::vector<Case> &cases);
void addStreamCases(std::vector<Case> &cases);
void addHeadCases(std::vector<Case> &cases);
void addAttentionCases(std::vector<Case> &cases);
void addPointwiseCases(std::vector<Case> &cases);
void addPrefillCases(std::vector<Case> &cases);
void addSelectionCases(std::vector<Case> &cases);
/// Timings, each beside the floor that memory bandwidth sets. `multiprocessors` shapes the kernels as for a
/// run.
void addBandwidthCases(std::vector<Case> &cases, unsigned multiprocessors);
void addDecodeCases(std::vector<Case> &cases, const std::string &chip, unsigned multiprocessors);
void addPrefillSpeedCases(std::vector<Case> &cases);
void addSelectionSpeedCases(std::vector<Case> &cases);

/// Bytes a second of the fastest read of memory in this run (addBandwidthCases sets it).
extern double measuredBandwidth;

/// Kernels of the cases that are not the product's.
struct PlainKernel {
  std::string name, source;
};
extern const std::vector<PlainKernel> plainKernels;

} // namespace fusebox::gputest
