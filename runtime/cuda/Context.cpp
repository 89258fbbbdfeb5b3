#include "runtime/cuda/Context.h"

#include <utility>

namespace fusebox::cuda {

Result<std::shared_ptr<GpuContext>> GpuContext::open(uint32_t index) {
  FUSEBOX_ASSIGN(const DriverApi *api, driver());
  FUSEBOX_ASSIGN(std::vector<GpuInfo> gpus, listGpus());
  if (index >= gpus.size())
    return resourceError("there is no GPU " + std::to_string(index) + ": the driver shows " +
                         std::to_string(gpus.size()) + "; see `fusebox devices`");
  DeviceHandle device = 0;
  Context context = nullptr;
  std::string opening = "opening " + gpus[index].name;
  FUSEBOX_CUDA(*api, deviceGet(&device, int(index)), opening);
  FUSEBOX_CUDA(*api, primaryContextRetain(&context, device), opening);
  return std::shared_ptr<GpuContext>(new GpuContext(*api, gpus[index], device, context));
}

GpuContext::~GpuContext() {
  if (!abandoned)
    api.primaryContextRelease(device);
}

Result<void> GpuContext::enter() const {
  if (abandoned)
    return internalError("a kernel on " + info.name +
                         " has not returned; end the program to use the GPU again");
  FUSEBOX_CUDA(api, contextSetCurrent(context), "entering the context of " + info.name);
  return {};
}

Result<PinnedMemory> PinnedMemory::allocate(std::shared_ptr<GpuContext> gpu, size_t bytes) {
  FUSEBOX_TRY(gpu->enter());
  void *memory = nullptr;
  FUSEBOX_CUDA(gpu->api, memHostAlloc(&memory, bytes, 0),
               "allocating " + std::to_string(bytes) + " bytes of page-locked memory");
  PinnedMemory pinned;
  pinned.gpu = std::move(gpu);
  pinned.memory = static_cast<std::byte *>(memory);
  pinned.bytes = bytes;
  return pinned;
}

PinnedMemory &PinnedMemory::operator=(PinnedMemory &&other) noexcept {
  std::swap(gpu, other.gpu);
  std::swap(memory, other.memory);
  std::swap(bytes, other.bytes);
  return *this;
}

PinnedMemory::~PinnedMemory() {
  if (memory && gpu->enter())
    gpu->api.memFreeHost(memory);
}

} // namespace fusebox::cuda
