#include "runtime/device/Device.h"

using namespace fusebox;

/// The targets this binary has, by kind.
static const DeviceTable *findTable(plan::TargetKind kind) {
  switch (kind) {
  case plan::TargetKind::Cpu:
    return &cpuDeviceTable();
  case plan::TargetKind::Cuda:
    return &cudaDeviceTable();
  }
  return nullptr;
}

Result<Device> fusebox::openDevice(const DeviceRequest &request) {
  const DeviceTable *table = findTable(request.kind);
  if (!table)
    return modelError("the plan is for a kind of device that this build does not know");
  return table->open(request);
}

uint64_t fusebox::availableMemory(const Device &device) { return device.table->availableMemory(device); }

Result<DeviceBuffer> fusebox::allocate(const Device &device, uint64_t bytes, const std::string &what) {
  return device.table->allocate(device, bytes, what);
}

Result<DeviceBuffer> fusebox::allocateOnHost(const Device &device, uint64_t bytes, const std::string &what) {
  return device.table->allocateOnHost(device, bytes, what);
}

Result<Stream> fusebox::createStream(const Device &device) { return device.table->createStream(device); }

Result<void> fusebox::upload(const Stream &stream, const DeviceBuffer &to, uint64_t offset,
                             std::span<const std::byte> bytes) {
  if (offset > to.bytes || bytes.size() > to.bytes - offset)
    return internalError("upload past the end of a device buffer");
  return stream.device.table->upload(stream, to, offset, bytes);
}

Result<void> fusebox::download(const Stream &stream, std::span<std::byte> to, const std::byte *from) {
  return stream.device.table->download(stream, to, from);
}

Result<Event> fusebox::record(const Stream &stream) { return stream.device.table->record(stream); }
Result<void> fusebox::wait(const Event &event) { return event.device.table->wait(event); }
Result<void> fusebox::synchronise(const Stream &stream) { return stream.device.table->synchronise(stream); }

Result<Fit> fusebox::supports(const Device &device, const plan::Target &target) {
  return device.table->supports(device, target);
}

Result<Executable> fusebox::loadExecutable(const Device &device, const plan::Program &program,
                                           uint32_t target, const LoadProgress &progress) {
  return device.table->load(device, program, target, progress);
}

Result<BoundProgram> fusebox::bind(const Executable &executable, Bindings bindings) {
  return executable.device.table->bind(executable, std::move(bindings));
}

Result<void> fusebox::launch(const Stream &stream, const BoundProgram &program, const StepView &step,
                             const LaunchObserver &observer, uint32_t selection) {
  return stream.device.table->launch(stream, program, step, observer, selection);
}
