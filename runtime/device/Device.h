// The runtime's view of a device: plain values and free functions, the same for every target.
//
// The session (runtime/Session.h) opens a device, puts memory and code on it, binds the two, and launches
// steps. A target implements the functions of DeviceTable (runtime/cpu/CpuDevice.cpp; CUDA: runtime/cuda);
// nobody else sees them. Values share what they hold and free it when the last copy goes. There is no global
// device.
#pragma once

#include "kernels/cpu/KernelAbi.h"
#include "runtime/plan/Program.h"
#include "support/Result.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace fusebox {

struct DeviceTable;

/// Which device, and how to use it.
struct DeviceRequest {
  plan::TargetKind kind = plan::TargetKind::Cpu;
  uint32_t index = 0; ///< ordinal among the devices of its kind
  uint32_t threads =
      0; ///< CPU: threads to compute with, the caller included; 0: all CPUs this process may use
};

/// An opened device.
struct Device {
  plan::TargetKind kind = plan::TargetKind::Cpu;
  uint32_t index = 0;
  std::string name; ///< "CPU, 16 threads", "NVIDIA H200"
  /// Kernels read host memory in place: weights need no copy, logits are read where they are.
  bool sharesHostMemory = false;
  uint32_t threads = 1; ///< host threads that loading may use
  const DeviceTable *table = nullptr;
  std::shared_ptr<void> state;
};

/// Memory of a device. `address` is a device address: host code dereferences it only if the device shares
/// memory.
struct DeviceBuffer {
  std::byte *address = nullptr;
  std::byte *host = nullptr; ///< where the host reads and writes it, if it can
  uint64_t bytes = 0;
  uint32_t device = 0;
  std::shared_ptr<void> owner;
};

/// Work of one stream runs in order.
struct Stream {
  Device device;
  std::shared_ptr<void> state;
};

/// A point in a stream's work.
struct Event {
  Device device;
  std::shared_ptr<void> state;
};

/// A program's code for a device: a mapped image, loaded modules.
struct Executable {
  Device device;
  std::shared_ptr<void> state;
};

/// The sizes that one step never exceeds; arenas are laid out for them, graphs captured for them.
struct StepCapacity {
  uint32_t tokens = 0, sequences = 0, logitsRows = 0;
  uint32_t maxPages = 0; ///< KV pages of one sequence
};

/// Addresses for everything a launch's arguments name.
struct Bindings {
  StepCapacity capacity;
  std::vector<std::byte *> buffers;                    ///< [program.buffers]
  std::vector<std::vector<const std::byte *>> weights; ///< [program.weights][instances]
  std::vector<const std::byte *> constants;            ///< [program.constants]
  std::vector<std::byte *> kvPools;                    ///< [program.kvCaches]; layer 0's pool
  uint64_t kvPages = 0;                                ///< pages in the pool of one layer
  std::vector<std::shared_ptr<void>> owners;           ///< keeps the memory alive as long as the binding
};

/// An executable with its bindings: addresses resolved, ready for any number of steps.
struct BoundProgram {
  Device device;
  std::shared_ptr<void> state;
};

/// A launch that has just completed: called while all of the device's work stands still, so that the values
/// in the launch's buffers can be read (download()). `layer` is -1 outside loops, and `block` is then empty.
struct LaunchReport {
  uint32_t launch = 0;
  int32_t layer = -1;
  std::string_view block;
};
using LaunchObserver = std::function<Result<void>(const LaunchReport &)>;

/// Fails with ErrorKind::Resource and the reason when there is no such device.
Result<Device> openDevice(const DeviceRequest &request);

/// Free memory of the device in bytes, without what the process could still be given by other processes.
uint64_t availableMemory(const Device &device);

/// Zeroed memory, aligned to at least 256 bytes. `what` names it in the error when there is not enough.
Result<DeviceBuffer> allocate(const Device &device, uint64_t bytes, const std::string &what);

/// Zeroed memory of the host that kernels write and the host reads in place after synchronise(): for small
/// results, which then need no copy.
Result<DeviceBuffer> allocateOnHost(const Device &device, uint64_t bytes, const std::string &what);

Result<Stream> createStream(const Device &device);
/// Copies host memory to [offset, offset + bytes.size()) of the buffer. The bytes may be reused after the
/// call.
Result<void> upload(const Stream &stream, const DeviceBuffer &to, uint64_t offset,
                    std::span<const std::byte> bytes);
/// Copies device memory at `from` to the host, after all earlier work of the stream; returns when it is
/// there.
Result<void> download(const Stream &stream, std::span<std::byte> to, const std::byte *from);
Result<Event> record(const Stream &stream);
Result<void> wait(const Event &event);
/// Waits for all work of the stream; reports the first error of any launch, with the kernel's and the node's
/// name.
Result<void> synchronise(const Stream &stream);

/// Called while code is made ready: what is being done, and the share that is done. False cancels. Called by
/// one thread at a time, not always the same.
using LoadProgress = std::function<bool(std::string_view stage, double fraction)>;

/// Loads the code of program.targets[target]. Fails with ErrorKind::Model when the device can't run it,
/// saying what it lacks. The program must outlive the executable.
Result<Executable> loadExecutable(const Device &device, const plan::Program &program, uint32_t target,
                                  const LoadProgress &progress = {});

/// How a target's code runs on a device: as it is, or once its sources have been compiled for the device.
enum class Fit : uint8_t { Exact, FromSource };
/// Whether loadExecutable could succeed: the device has what the target needs. Else the reason.
Result<Fit> supports(const Device &device, const plan::Target &target);

Result<BoundProgram> bind(const Executable &executable, Bindings bindings);

/// Runs the schedule on one step. `step` and its arrays are host memory and may be reused after the call.
/// With an observer, launches run one at a time. `selection` is the count of one of the program's selections,
/// or 0 for none.
Result<void> launch(const Stream &stream, const BoundProgram &program, const StepView &step,
                    const LaunchObserver &observer = {}, uint32_t selection = 0);

/// What a target implements.
struct DeviceTable {
  Result<Device> (*open)(const DeviceRequest &);
  uint64_t (*availableMemory)(const Device &);
  Result<DeviceBuffer> (*allocate)(const Device &, uint64_t bytes, const std::string &what);
  Result<DeviceBuffer> (*allocateOnHost)(const Device &, uint64_t bytes, const std::string &what);
  Result<Stream> (*createStream)(const Device &);
  Result<void> (*upload)(const Stream &, const DeviceBuffer &to, uint64_t offset, std::span<const std::byte>);
  Result<void> (*download)(const Stream &, std::span<std::byte> to, const std::byte *from);
  Result<Event> (*record)(const Stream &);
  Result<void> (*wait)(const Event &);
  Result<void> (*synchronise)(const Stream &);
  Result<Fit> (*supports)(const Device &, const plan::Target &);
  Result<Executable> (*load)(const Device &, const plan::Program &, uint32_t target, const LoadProgress &);
  Result<BoundProgram> (*bind)(const Executable &, Bindings &&);
  Result<void> (*launch)(const Stream &, const BoundProgram &, const StepView &, const LaunchObserver &,
                         uint32_t selection);
};

const DeviceTable &cpuDeviceTable();
const DeviceTable &cudaDeviceTable();

/// Sizes of a step by extent, for grids and buffers.
inline uint64_t extentUnits(const StepView &step, plan::Extent extent) {
  switch (extent) {
  case plan::Extent::Fixed:
    return 1;
  case plan::Extent::Tokens:
    return uint64_t(step.tokens);
  case plan::Extent::LogitsRows:
    return uint64_t(step.logitsRows);
  case plan::Extent::Sequences:
    return uint64_t(step.sequences);
  }
  return 0;
}

/// Blocks along one axis of a grid.
inline uint64_t gridSize(const plan::GridDim &dim, const StepView &step) {
  return uint64_t(dim.count) * ((extentUnits(step, dim.extent) + dim.tile - 1) / dim.tile);
}

/// Keys that the tokens of a step see, all together, if no window hides some. The step's arrays must be the
/// host's.
inline uint64_t keysSeen(const StepView &step) {
  uint64_t keys = 0;
  for (int32_t token = 0; token < step.tokens; ++token)
    keys += uint64_t(step.position[token] + 1); // padding is at -1
  return keys;
}

/// Whether a variant is for steps of `rows` rows whose tokens see `keys` keys.
inline bool suits(const plan::Variant &variant, uint64_t rows, uint64_t keys) {
  return rows <= variant.maxRows && keys >= variant.minKeys &&
         (variant.belowKeys == 0 || keys < variant.belowKeys);
}

/// The variant of a launch for a step whose tokens see `keys` keys: the first that suits; when the launch
/// must run `alone`, so that every value is there to be seen, the last with that maxRows. Loop variants are
/// chosen only if `loops` says that the executor can run them, and never alone.
inline const plan::Variant &selectVariant(const plan::Launch &launch, const StepView &step, uint64_t keys,
                                          bool alone = false, bool loops = false) {
  uint64_t rows = extentUnits(step, launch.rows);
  const std::vector<plan::Variant> &variants = launch.variants;
  auto takes = [&](const plan::Variant &variant) {
    return suits(variant, rows, keys) && (!variant.loop || (loops && !alone));
  };
  size_t choice = 0;
  while (choice + 1 < variants.size() && !takes(variants[choice]))
    ++choice;
  while (alone && choice + 1 < variants.size() && variants[choice + 1].maxRows == variants[choice].maxRows)
    ++choice;
  return variants[choice];
}

} // namespace fusebox
