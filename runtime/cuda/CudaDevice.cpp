// An NVIDIA GPU as a device (runtime/device/Device.h).
#include "runtime/cuda/CubinCache.h"
#include "runtime/cuda/GpuExecutor.h"
#include "runtime/cuda/GpuStream.h"
#include "runtime/device/Device.h"

#include <algorithm>
#include <cstring>
#include <thread>

using namespace fusebox;
using namespace fusebox::cuda;

static std::shared_ptr<GpuContext> contextOf(const Device &device) {
  return std::static_pointer_cast<GpuContext>(device.state);
}
static GpuStream &streamOf(const Stream &stream) { return *static_cast<GpuStream *>(stream.state.get()); }
static DevicePtr addressOf(const std::byte *p) { return DevicePtr(reinterpret_cast<uintptr_t>(p)); }

static Result<Device> open(const DeviceRequest &request) {
  FUSEBOX_ASSIGN(auto gpu, GpuContext::open(request.index));
  Device device;
  device.kind = plan::TargetKind::Cuda;
  device.index = request.index;
  device.name = gpu->info.name;
  device.threads =
      request.threads ? request.threads : std::clamp(std::thread::hardware_concurrency(), 1u, 16u);
  device.table = &cudaDeviceTable();
  device.state = std::move(gpu);
  return device;
}

static uint64_t freeMemory(const Device &device) {
  auto gpu = contextOf(device);
  size_t available = 0, total = 0;
  if (!gpu->enter() || gpu->api.memGetInfo(&available, &total) != success)
    return 0;
  return available;
}

static Result<DeviceBuffer> allocateBuffer(const Device &device, uint64_t bytes, const std::string &what) {
  auto gpu = contextOf(device);
  FUSEBOX_TRY(gpu->enter());
  DevicePtr address = 0;
  std::string allocating =
      "allocating " + std::to_string(bytes) + " bytes on " + device.name + " for " + what;
  uint64_t atLeast = std::max<uint64_t>(bytes, 256);
  FUSEBOX_CUDA(gpu->api, memAlloc(&address, atLeast), allocating);
  DeviceBuffer buffer;
  buffer.address = reinterpret_cast<std::byte *>(uintptr_t(address));
  buffer.bytes = bytes;
  buffer.device = device.index;
  buffer.owner = std::shared_ptr<void>(buffer.address, [gpu, address](void *) {
    if (gpu->enter())
      gpu->api.memFree(address);
  });
  FUSEBOX_CUDA(gpu->api, memsetD8Async(address, 0, atLeast, nullptr), allocating);
  FUSEBOX_CUDA(gpu->api, streamSynchronize(nullptr), allocating);
  return buffer;
}

/// Page-locked memory, which the GPU reaches by the same address.
static Result<DeviceBuffer> allocateVisible(const Device &device, uint64_t bytes, const std::string &what) {
  auto memory = PinnedMemory::allocate(contextOf(device), std::max<uint64_t>(bytes, 256));
  if (!memory)
    return Error{memory.error().kind, what + ": " + memory.error().message};
  auto owner = std::make_shared<PinnedMemory>(std::move(*memory));
  DeviceBuffer buffer;
  buffer.address = buffer.host = owner->data();
  buffer.bytes = bytes;
  buffer.device = device.index;
  std::memset(buffer.host, 0, owner->size());
  buffer.owner = std::move(owner);
  return buffer;
}

static Result<Stream> create(const Device &device) {
  FUSEBOX_ASSIGN(auto stream, GpuStream::create(contextOf(device)));
  return Stream{device, std::move(stream)};
}

static Result<void> copyIn(const Stream &stream, const DeviceBuffer &to, uint64_t offset,
                           std::span<const std::byte> bytes) {
  return streamOf(stream).copyIn(addressOf(to.address) + offset, bytes);
}

static Result<void> copyOut(const Stream &stream, std::span<std::byte> to, const std::byte *from) {
  return streamOf(stream).copyOut(to, addressOf(from));
}

static Result<Event> recordEvent(const Stream &stream) {
  GpuStream &from = streamOf(stream);
  FUSEBOX_TRY(from.gpu->enter());
  EventHandle event = nullptr;
  FUSEBOX_CUDA(from.gpu->api, eventCreate(&event, eventNoTiming), "creating an event");
  std::shared_ptr<void> state(event, [gpu = from.gpu](void *handle) {
    if (gpu->enter())
      gpu->api.eventDestroy(static_cast<EventHandle>(handle));
  });
  FUSEBOX_CUDA(from.gpu->api, eventRecord(event, from.handle), "recording an event");
  return Event{stream.device, std::move(state)};
}

static Result<void> waitEvent(const Event &event) {
  auto gpu = contextOf(event.device);
  FUSEBOX_TRY(gpu->enter());
  FUSEBOX_CUDA(gpu->api, eventSynchronize(static_cast<EventHandle>(event.state.get())),
               "waiting for " + event.device.name);
  return {};
}

static Result<void> finish(const Stream &stream) { return streamOf(stream).finish(); }

static Result<Fit> checkTarget(const Device &device, const plan::Target &target) {
  const GpuInfo &info = contextOf(device)->info;
  const std::string chip = info.chip();
  if (target.kind != plan::TargetKind::Cuda)
    return modelError("the plan is for " + target.name +
                      ", not for a GPU; compile it again with --target cuda:" + chip);
  if (!info.usable())
    return resourceError(device.name + ": " + info.problem());
  if (target.name == chip)
    return Fit::Exact;
  if (auto nvrtc = nvrtcVersion(); !nvrtc)
    return modelError("the plan has kernels for " + target.name + ", " + device.name + " is " + chip +
                      ", and they can't be compiled here: " + nvrtc.error().message +
                      "; or compile the plan again with --target cuda:" + chip);
  return Fit::FromSource;
}

static Result<Executable> load(const Device &device, const plan::Program &program, uint32_t target,
                               const LoadProgress &progress) {
  FUSEBOX_TRY(checkTarget(device, program.targets[target]));
  FUSEBOX_ASSIGN(auto code, LoadedModules::load(program, contextOf(device), device.threads, progress));
  return Executable{device, std::move(code)};
}

static Result<BoundProgram> bindProgram(const Executable &executable, Bindings &&bindings) {
  FUSEBOX_ASSIGN(auto executor, GpuExecutor::create(std::static_pointer_cast<LoadedModules>(executable.state),
                                                    std::move(bindings)));
  return BoundProgram{executable.device, std::move(executor)};
}

static Result<void> launchStep(const Stream &stream, const BoundProgram &program, const StepView &step,
                               const LaunchObserver &observer, uint32_t selection) {
  return static_cast<GpuExecutor *>(program.state.get())->run(streamOf(stream), step, observer, selection);
}

const DeviceTable &fusebox::cudaDeviceTable() {
  static const DeviceTable table = {
      .open = open,
      .availableMemory = freeMemory,
      .allocate = allocateBuffer,
      .allocateOnHost = allocateVisible,
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
