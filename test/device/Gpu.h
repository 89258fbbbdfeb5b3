// What the device suite needs of a GPU: memory, kernels from a folder of cubins (or NVRTC), launches, graphs,
// timing. Every driver call is checked; a failure ends the program with a message, a kernel that does not
// return too.
#pragma once

#include "kernels/cuda/KernelSource.h"
#include "runtime/cuda/Driver.h"
#include "runtime/device/Device.h"

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace fusebox::gputest {

/// Ends the program with a message.
[[noreturn]] void fail(const std::string &message);

/// Unwraps a Result or ends the program.
template <class T> T expect(Result<T> result) {
  if (!result)
    fail(result.error().message);
  return std::move(*result);
}

/// Kernels by request: cubins in a folder, named by kernel, source and chip; compiled there if missing.
class KernelStore {
public:
  explicit KernelStore(std::string folder) : folder(std::move(folder)) {}
  /// The cubin of a kernel, compiled with NVRTC and stored if the folder lacks it.
  std::vector<std::byte> cubin(const std::string &name, const std::string &source, const std::string &chip);

private:
  std::string folder;
};

/// The source of a kernel of the table; without `bulkCopies` what it copies by these it copies piece by
/// piece.
std::string sourceOf(const cuda::KernelRequest &request, bool bulkCopies);

class Gpu;

/// Device memory.
class Memory {
public:
  Memory() = default;
  Memory(Gpu &gpu, size_t bytes);
  Memory(Memory &&other) noexcept { *this = std::move(other); }
  Memory &operator=(Memory &&other) noexcept;
  ~Memory();
  cuda::DevicePtr address = 0;
  size_t bytes = 0;

private:
  Gpu *gpu = nullptr;
};

/// A step's arrays on the device.
struct DeviceStep {
  StepView view{};
  std::vector<Memory> arrays;
};

class Gpu {
public:
  Gpu(KernelStore store, int index);
  ~Gpu();

  Memory allocate(size_t bytes) { return Memory(*this, bytes); }
  template <class T> Memory upload(const std::vector<T> &values) {
    Memory memory(*this, values.size() * sizeof(T));
    copyToDevice(memory.address, values.data(), memory.bytes);
    return memory;
  }
  template <class T> std::vector<T> download(const Memory &memory, size_t count) {
    std::vector<T> values(count);
    copyToHost(values.data(), memory.address, count * sizeof(T));
    return values;
  }
  void copyToDevice(cuda::DevicePtr to, const void *from, size_t bytes);
  void copyToHost(void *to, cuda::DevicePtr from, size_t bytes);
  void copyOnDevice(cuda::DevicePtr to, cuda::DevicePtr from, size_t bytes);
  void fill(const Memory &memory, unsigned char value);

  /// Token n of the step is at positions[n] of sequence sequences[n]; sequence s has pages [s * maxPages,
  /// ...).
  DeviceStep step(const std::vector<int> &tokens, const std::vector<int> &positions,
                  const std::vector<int> &sequences, int maxPages);

  cuda::Function kernel(const cuda::KernelRequest &request);
  cuda::Function kernelFromSource(const std::string &name, const std::string &source);

  /// Queues a kernel of the table with its own grid, or with `blocks` in place of grid[0].
  void launch(const cuda::KernelRequest &request, const std::vector<cuda::DevicePtr> &args,
              const StepView &step, unsigned blocks = 0);
  void launchRaw(cuda::Function function, unsigned gridX, unsigned gridY, unsigned threads, void **parameters,
                 unsigned sharedBytes = 0);
  /// Waits for everything queued; ends the program if that takes more than 60 s, which it may under
  /// compute-sanitizer.
  void synchronise(const std::string &what);

  /// Milliseconds that one replay of the recorded work takes: the median of `repeats`, each of `inner`
  /// replays.
  double timeGraph(const std::string &what, const std::function<void()> &record, int inner, int repeats = 7);

  cuda::GpuInfo info;
  unsigned multiprocessors = 0;
  bool dependentLaunch = true; ///< overlap the start of a kernel with its predecessor's end
  bool bulkCopies = true;
  const cuda::DriverApi &api;

private:
  friend class Memory;
  void check(cuda::Status status, const std::string &what);
  KernelStore store;
  cuda::Context context = nullptr;
  cuda::DeviceHandle device = 0;
  cuda::StreamHandle stream = nullptr;
  std::map<std::string, cuda::Function> functions;
};

} // namespace fusebox::gputest
