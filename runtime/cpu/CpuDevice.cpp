// The CPU as a device (runtime/device/Device.h): host memory is its memory, and work is done when a call
// returns.
#include "runtime/cpu/CpuFeatures.h"
#include "runtime/cpu/Executor.h"
#include "runtime/cpu/HostMemory.h"
#include "runtime/cpu/ThreadPool.h"
#include "runtime/device/Device.h"

#include <cstring>

using namespace fusebox;
using namespace fusebox::cpu;

static Result<Device> open(const DeviceRequest &request) {
  if (request.index != 0)
    return resourceError("there is one CPU device, number 0; number " + std::to_string(request.index) +
                         " was asked for");
  constexpr uint32_t most = 1024;
  if (request.threads > most)
    return usageError(std::to_string(request.threads) + " threads are too many; at most " +
                      std::to_string(most));
  auto pool = std::make_shared<ThreadPool>(request.threads ? request.threads : usableCpus());
  Device device;
  device.threads = pool->threads();
  device.name = "CPU, " + std::to_string(device.threads) + (device.threads == 1 ? " thread" : " threads");
  device.sharesHostMemory = true;
  device.table = &cpuDeviceTable();
  device.state = std::move(pool);
  return device;
}

static Result<DeviceBuffer> allocateBuffer(const Device &, uint64_t bytes, const std::string &what) {
  FUSEBOX_ASSIGN(auto memory, allocatePages(bytes, what));
  DeviceBuffer buffer;
  buffer.address = buffer.host = memory.get();
  buffer.bytes = bytes;
  buffer.owner = std::move(memory);
  return buffer;
}

static Result<Stream> create(const Device &device) { return Stream{device, nullptr}; }

static Result<void> copyIn(const Stream &, const DeviceBuffer &to, uint64_t offset,
                           std::span<const std::byte> bytes) {
  if (!bytes.empty())
    std::memcpy(to.address + offset, bytes.data(), bytes.size());
  return {};
}

static Result<void> copyOut(const Stream &, std::span<std::byte> to, const std::byte *from) {
  if (!to.empty())
    std::memcpy(to.data(), from, to.size());
  return {};
}

static Result<Event> recordEvent(const Stream &stream) { return Event{stream.device, nullptr}; }
static Result<void> waitEvent(const Event &) { return {}; }
static Result<void> finish(const Stream &) { return {}; }

static Result<Fit> checkTarget(const Device &, const plan::Target &target) {
  if (target.kind != plan::TargetKind::Cpu)
    return modelError("the plan is for " + target.name +
                      ", not for a CPU; compile it again with --target cpu");
  FUSEBOX_TRY(checkFeatures(target));
  return Fit::Exact;
}

static Result<Executable> load(const Device &device, const plan::Program &program, uint32_t target,
                               const LoadProgress & /*mapping takes no time*/) {
  FUSEBOX_TRY(checkTarget(device, program.targets[target]));
  auto code = std::make_shared<LoadedCode>();
  code->program = &program;
  code->pool = std::static_pointer_cast<ThreadPool>(device.state);
  FUSEBOX_ASSIGN(code->image, CodeImage::map(program.images[0]));
  return Executable{device, std::move(code)};
}

static Result<BoundProgram> bindProgram(const Executable &executable, Bindings &&bindings) {
  const auto &code = *static_cast<const LoadedCode *>(executable.state.get());
  FUSEBOX_ASSIGN(auto executor, Executor::create(code, std::move(bindings)));
  return BoundProgram{executable.device, std::move(executor)};
}

static Result<void> launchStep(const Stream &, const BoundProgram &program, const StepView &step,
                               const LaunchObserver &observer,
                               uint32_t /*selection: CPU programs have none*/) {
  return static_cast<Executor *>(program.state.get())->run(step, observer);
}

const DeviceTable &fusebox::cpuDeviceTable() {
  static const DeviceTable table = {
      .open = open,
      .availableMemory = [](const Device &) { return availableHostMemory(); },
      .allocate = allocateBuffer,
      .allocateOnHost = allocateBuffer,
      .createStream = create,
      .upload = copyIn,
      .download = copyOut,
      .record = recordEvent,
      .wait = waitEvent,
      .synchronise = finish,
      .supports = checkTarget,
      .load = load,
      .bind = bindProgram,
      .launch = launchStep,
  };
  return table;
}
