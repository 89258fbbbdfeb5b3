#include "runtime/cuda/GpuStream.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

namespace fusebox::cuda {

/// Large enough that a copy's own cost does not show, small enough that filling one is short.
static constexpr size_t stagingBytes = size_t(4) << 20;

static std::chrono::duration<double> timeLimit() {
  const char *text = std::getenv("FUSEBOX_GPU_TIMEOUT");
  double seconds = text ? std::strtod(text, nullptr) : 0;
  return std::chrono::duration<double>(seconds > 0 ? seconds : 60);
}

Result<std::shared_ptr<GpuStream>> GpuStream::create(std::shared_ptr<GpuContext> gpu) {
  FUSEBOX_TRY(gpu->enter());
  StreamHandle handle = nullptr;
  FUSEBOX_CUDA(gpu->api, streamCreate(&handle, streamNonBlocking), "creating a stream");
  return std::shared_ptr<GpuStream>(new GpuStream(std::move(gpu), handle));
}

GpuStream::~GpuStream() {
  if (!gpu->enter())
    return;
  gpu->api.streamSynchronize(handle);
  for (Staging &staging : ring)
    if (staging.copied)
      gpu->api.eventDestroy(staging.copied);
  gpu->api.streamDestroy(handle);
}

/// The next buffer of the ring, made when first needed, once its last copy is done.
Result<GpuStream::Staging *> GpuStream::nextStaging() {
  Staging &staging = ring[turn++ % ring.size()];
  if (!staging.copied) {
    FUSEBOX_ASSIGN(staging.memory, PinnedMemory::allocate(gpu, stagingBytes));
    FUSEBOX_CUDA(gpu->api, eventCreate(&staging.copied, eventNoTiming), "creating an event");
  } else {
    FUSEBOX_CUDA(gpu->api, eventSynchronize(staging.copied), current);
  }
  return &staging;
}

Result<void> GpuStream::copyIn(DevicePtr to, std::span<const std::byte> bytes) {
  std::scoped_lock lock(copying);
  FUSEBOX_TRY(gpu->enter());
  while (!bytes.empty()) {
    size_t part = std::min(bytes.size(), stagingBytes);
    FUSEBOX_ASSIGN(Staging * staging, nextStaging());
    std::memcpy(staging->memory.data(), bytes.data(), part);
    FUSEBOX_CUDA(gpu->api, memcpyHtoDAsync(to, staging->memory.data(), part, handle), "copying to the GPU");
    FUSEBOX_CUDA(gpu->api, eventRecord(staging->copied, handle), "copying to the GPU");
    to += part;
    bytes = bytes.subspan(part);
  }
  return {};
}

Result<void> GpuStream::copyOut(std::span<std::byte> to, DevicePtr from) {
  std::scoped_lock lock(copying);
  FUSEBOX_TRY(gpu->enter());
  while (!to.empty()) {
    size_t part = std::min(to.size(), stagingBytes);
    FUSEBOX_ASSIGN(Staging * staging, nextStaging());
    FUSEBOX_CUDA(gpu->api, memcpyDtoHAsync(staging->memory.data(), from, part, handle),
                 "copying from the GPU");
    FUSEBOX_CUDA(gpu->api, eventRecord(staging->copied, handle), "copying from the GPU");
    FUSEBOX_TRY(finish());
    std::memcpy(to.data(), staging->memory.data(), part);
    from += part;
    to = to.subspan(part);
  }
  return {};
}

Result<void> GpuStream::finish() {
  using Clock = std::chrono::steady_clock;
  FUSEBOX_TRY(gpu->enter());
  const auto begin = Clock::now();
  for (;;) {
    Status status = gpu->api.streamQuery(handle);
    if (status == success)
      return {};
    if (status != errorNotReady)
      return internalError(current + " failed on " + gpu->info.name + ": " + statusText(gpu->api, status) +
                           "; FUSEBOX_GPU_SYNC=1 runs kernels one at a time and names the one at fault");
    auto waited = Clock::now() - begin;
    if (waited > timeLimit()) {
      gpu->abandon();
      return internalError(current + ": a kernel on " + gpu->info.name +
                           " has not returned in time (FUSEBOX_GPU_TIMEOUT seconds, 60 unless set); "
                           "FUSEBOX_GPU_SYNC=1 runs kernels one at a time and names the one at fault");
    }
    // A token takes about a millisecond: spin that long, then leave the CPU to others.
    if (waited > std::chrono::milliseconds(5))
      std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

} // namespace fusebox::cuda
