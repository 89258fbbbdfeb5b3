// A stream of the GPU with what copies need: page-locked buffers in turn, and a wait that notices a kernel
// that never returns.
#pragma once

#include "runtime/cuda/Context.h"

#include <array>
#include <mutex>
#include <span>

namespace fusebox::cuda {

class GpuStream {
public:
  static Result<std::shared_ptr<GpuStream>> create(std::shared_ptr<GpuContext> gpu);
  GpuStream(const GpuStream &) = delete;
  ~GpuStream();

  /// Copies host memory to the GPU; the bytes may be reused after the call. In order with the stream's other
  /// work, but not waited for.
  Result<void> copyIn(DevicePtr to, std::span<const std::byte> bytes);
  /// Copies to the host after all earlier work; returns when it is there.
  Result<void> copyOut(std::span<std::byte> to, DevicePtr from);
  /// Waits for all work. Fails with ErrorKind::Internal when a launch failed, or when nothing was finished
  /// within the time limit (60 s, FUSEBOX_GPU_TIMEOUT in seconds); both name the work last begun.
  Result<void> finish();

  /// What errors call the work that is under way.
  void describe(std::string work) { current = std::move(work); }

  const std::shared_ptr<GpuContext> gpu;
  const StreamHandle handle;

private:
  GpuStream(std::shared_ptr<GpuContext> gpu, StreamHandle handle) : gpu(std::move(gpu)), handle(handle) {}

  /// A page-locked buffer, free again once `copied` has happened.
  struct Staging {
    PinnedMemory memory;
    EventHandle copied = nullptr;
  };
  std::array<Staging, 4> ring;
  size_t turn = 0;
  std::mutex copying;
  std::string current = "copying to the GPU";

  Result<Staging *> nextStaging();
};

} // namespace fusebox::cuda
