// How much memory a session takes, known from the plan alone, and what context fits.
#pragma once

#include "runtime/device/Device.h"
#include "runtime/plan/Program.h"
#include "support/Result.h"

#include <cstdint>
#include <string>
#include <vector>

namespace fusebox {

struct SessionOptions;

/// Bytes by use.
struct MemoryNeed {
  uint64_t weightsMapped = 0; ///< read in place from files
  uint64_t weightsOwned = 0;  ///< made by recipes, or on the device
  uint64_t arena = 0;         ///< values of one step
  uint64_t kvCache = 0;
  uint64_t other = 0; ///< code, constants, scratch
  uint64_t total() const { return weightsMapped + weightsOwned + arena + kvCache + other; }
};

/// Where the arena of each extent starts, and capacities rounded up so that buffers keep their alignment.
struct ArenaLayout {
  uint64_t start[plan::extentCount] = {};
  uint64_t capacity[plan::extentCount] = {};
  uint64_t bytes = 0;
  uint64_t offset(const plan::Buffer &buffer) const {
    return start[unsigned(buffer.extent)] + buffer.offsetPerUnit * capacity[unsigned(buffer.extent)];
  }
};
ArenaLayout layOutArena(const plan::Program &program, const StepCapacity &capacity);

/// Bytes of KV cache for one page of tokens, all layers and caches.
uint64_t kvBytesPerPage(const plan::Program &program);

/// Fills in what `options` leave open (context, logits rows), and estimates memory. `available` is what the
/// device has left. Fails with ErrorKind::Resource, in numbers, when it does not fit, with ErrorKind::Usage
/// when the options can't be met by the model.
Result<MemoryNeed> planMemory(const plan::Program &program, const Device &device, uint64_t available,
                              SessionOptions &options);

/// The sizes of a session's steps.
StepCapacity stepCapacity(const SessionOptions &options);

/// "1.5 GB", for messages; powers of 1000.
std::string formatBytes(uint64_t bytes);

} // namespace fusebox
