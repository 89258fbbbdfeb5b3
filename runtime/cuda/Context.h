// An opened GPU: the driver, its primary context, and memory. Shared by everything that lives on the GPU
// (runtime/cuda/CudaDevice.cpp), which it outlives.
#pragma once

#include "runtime/cuda/Driver.h"

#include <atomic>
#include <memory>

namespace fusebox::cuda {

class GpuContext {
public:
  /// Fails with ErrorKind::Resource if there is no such GPU, or it can't be used.
  static Result<std::shared_ptr<GpuContext>> open(uint32_t index);
  GpuContext(const GpuContext &) = delete;
  ~GpuContext();

  /// Makes the context current on this thread: before every driver call.
  Result<void> enter() const;
  /// A kernel of the context never returned: any call that frees or waits would not return either. From now
  /// on enter() fails, and what the context holds is left to the end of the process.
  void abandon() { abandoned = true; }

  const DriverApi &api;
  GpuInfo info;

private:
  GpuContext(const DriverApi &api, GpuInfo info, DeviceHandle device, Context context)
      : api(api), info(std::move(info)), device(device), context(context) {}
  DeviceHandle device;
  Context context;
  std::atomic<bool> abandoned = false;
};

/// Page-locked host memory, which the GPU copies from and to while the CPU goes on.
class PinnedMemory {
public:
  PinnedMemory() = default;
  static Result<PinnedMemory> allocate(std::shared_ptr<GpuContext> gpu, size_t bytes);
  PinnedMemory(PinnedMemory &&other) noexcept { *this = std::move(other); }
  PinnedMemory &operator=(PinnedMemory &&other) noexcept;
  ~PinnedMemory();

  std::byte *data() const { return memory; }
  size_t size() const { return bytes; }

private:
  std::shared_ptr<GpuContext> gpu;
  std::byte *memory = nullptr;
  size_t bytes = 0;
};

} // namespace fusebox::cuda
