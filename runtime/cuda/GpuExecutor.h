// Runs a bound program on a GPU: the schedule unrolled into launches of one stream. Steps of few tokens are
// captured as a graph the first time and replayed, with their lengths, positions and pages as device data.
#pragma once

#include "runtime/cuda/CublasLt.h"
#include "runtime/cuda/GpuStream.h"
#include "runtime/device/Device.h"

#include <array>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <vector>

namespace fusebox::cuda {

/// A program's kernels on a GPU.
struct LoadedModules {
  const plan::Program *program = nullptr;
  std::shared_ptr<GpuContext> gpu;
  std::vector<ModuleHandle> modules;
  std::vector<Function> kernels; ///< [program.kernels]
  /// Dynamic shared memory of a block, [program.kernels]: what the plan says, as far as this GPU has it. A
  /// kernel that wants more on the chip it was made for does with less elsewhere.
  std::vector<unsigned> sharedBytes;

  /// Loads the modules, compiled for this GPU first where the plan has no cubin for it.
  static Result<std::shared_ptr<LoadedModules>> load(const plan::Program &program,
                                                     std::shared_ptr<GpuContext> gpu, unsigned threads,
                                                     const LoadProgress &progress);
  LoadedModules() = default;
  LoadedModules(const LoadedModules &) = delete;
  ~LoadedModules();

  /// Begins to load the library and to choose the products' algorithms, on a thread of its own: it takes
  /// longer than all else, and would stand in the way of weights on their way to the GPU.
  void beginChoosing();
  /// Queues kernel `kernel` of the program as a library's product of `rows` rows; false if it is none.
  Result<bool> launchProduct(uint32_t kernel, StreamHandle stream, const DevicePtr *args,
                             uint64_t rows) const;

private:
  std::shared_future<void> choosing; ///< waited for when the first product comes
  std::shared_ptr<CublasLt> library;
  std::vector<std::optional<LibraryProduct>> products; ///< [program.kernels] that the library computes
  DevicePtr workspace = 0;

  void chooseProducts();
};

class GpuExecutor {
public:
  static Result<std::shared_ptr<GpuExecutor>> create(std::shared_ptr<LoadedModules> code, Bindings bindings);
  GpuExecutor(const GpuExecutor &) = delete;
  ~GpuExecutor();

  /// Queues one step on the stream; with an observer, runs launches one at a time. `selection` is the count
  /// of the selection that the step ends with, or 0.
  Result<void> run(GpuStream &stream, const StepView &step, const LaunchObserver &observer,
                   uint32_t selection);

private:
  /// As fusebox::Args in kernels/cuda/base.cuh.
  struct Args {
    static constexpr size_t most = 12;
    DevicePtr p[most];
  };
  struct BoundLaunch {
    uint32_t launch; ///< index into program.launches
    int32_t layer;   ///< -1 outside loops
    std::string_view block;
    Args args;           ///< the first ones, if a loop variant has more
    DevicePtr table = 0; ///< for the loop variant's kernel, in the loop's first layer: it runs there
  };
  /// What a captured graph depends on.
  using StepSize =
      std::array<int32_t, 6>; ///< tokens, sequences, logits rows, pages, selection, key limits reached
  struct CapturedStep {
    GraphExec exec = nullptr;
    uint64_t lastUse = 0;
  };

  GpuExecutor() = default;

  std::shared_ptr<LoadedModules> code;
  Bindings bindings;
  std::vector<BoundLaunch> launches;
  DevicePtr stepMemory = 0;
  DevicePtr tableMemory = 0;   ///< addresses that the kernels of loop variants read
  bool loops = false;          ///< loop variants may run on this GPU
  std::vector<int32_t> packed; ///< a step's arrays on their way
  std::map<StepSize, CapturedStep> graphs;
  uint64_t uses = 0;
  std::vector<uint32_t> keyLimits; ///< of the program's variants, each once
  uint32_t selection = 0;          ///< of the step under way
  uint64_t keys = 0;               ///< that its tokens see

  Result<void> readLaunches();
  Result<void> flatten();
  Result<void> placeTables(std::span<const DevicePtr> addresses);
  Result<StepView> placeStep(GpuStream &stream, const StepView &step);
  Result<void> launchAll(GpuStream &stream, const StepView &step);
  Result<void> launchAlone(GpuStream &stream, const StepView &step, const LaunchObserver &observer);
  Result<bool> launchOne(GpuStream &stream, const BoundLaunch &bound, const StepView &step, bool alone);
  Result<GraphExec> capture(GpuStream &stream, const StepView &step);
};

} // namespace fusebox::cuda
