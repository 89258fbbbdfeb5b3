// libcuda, loaded when first asked for, so that one binary runs with and without a GPU.
#pragma once

#include "runtime/cuda/DriverApi.h"
#include "support/Result.h"

#include <string>
#include <vector>

namespace fusebox::cuda {

/// The driver, initialised. Fails with ErrorKind::Resource: no libcuda, too old, or no device it can use; the
/// first answer is kept for the life of the process.
Result<const DriverApi *> driver();

/// "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered".
std::string statusText(const DriverApi &api, Status status);

/// Error of a driver call that failed; `what` says what was being done.
Error driverError(const DriverApi &api, Status status, const std::string &what);

/// What `fusebox devices` prints of one GPU.
struct GpuInfo {
  int index = 0;
  std::string name;
  int major = 0, minor = 0, multiprocessors = 0;
  uint64_t memoryBytes = 0, l2Bytes = 0, sharedBytes = 0; ///< shared memory: that a block can have
  /// The chip kernels are compiled for: sm_90a for compute capability 9.0, sm_80, sm_89, sm_100 likewise.
  std::string chip() const;
  /// The kernels run on it; else problem() says why not.
  bool usable() const { return major >= 8; }
  std::string problem() const;
};
Result<std::vector<GpuInfo>> listGpus();

} // namespace fusebox::cuda

/// Calls a driver function; returns an Error from the enclosing function if it failed.
#define FUSEBOX_CUDA(API, CALL, WHAT)                                                                        \
  do {                                                                                                       \
    if (auto status_ = (API).CALL; status_ != fusebox::cuda::success)                                        \
      return fusebox::cuda::driverError((API), status_, (WHAT));                                             \
  } while (false)
