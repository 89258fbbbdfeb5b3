// Weights on a device: the addresses that kernels read them at.
#pragma once

#include "runtime/device/Device.h"
#include "runtime/weights/WeightFiles.h"
#include "support/Result.h"

#include <memory>
#include <vector>

namespace fusebox {

/// Memory that a program's weights need, in bytes.
struct WeightMemory {
  uint64_t mapped = 0; ///< read in place from files: in the page cache, shared with other processes
  uint64_t owned = 0;  ///< made by recipes, or on the device
};
WeightMemory weightMemory(const plan::Program &program, bool sharesHostMemory);

/// Weights in place, and what keeps them there.
struct PlacedWeights {
  std::vector<std::vector<const std::byte *>> addresses; ///< [program.weights][instances]
  std::vector<std::shared_ptr<void>> owners;
};

/// Runs all recipes (which checkRecipes has passed), in parallel on device.threads threads. On a device that
/// shares host memory, identity recipes cost nothing: their address lies in the mapped file. Elsewhere
/// everything is uploaded.
Result<PlacedWeights> placeWeights(const plan::Program &program, const WeightFiles &files,
                                   const Device &device, const Stream &stream);

/// Touches the pages of all weights that are read in place, on a thread of its own, until `owner` goes.
/// So the first step does not wait for each page in turn.
std::shared_ptr<void> prefetchWeights(const plan::Program &program, const WeightFiles &files);

} // namespace fusebox
