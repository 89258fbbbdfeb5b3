#include "runtime/cuda/GpuExecutor.h"

#include "runtime/device/Address.h"
#include "runtime/plan/Schedule.h"

#include <algorithm>
#include <cstdlib>

namespace fusebox::cuda {

/// Steps of at most so many tokens become graphs: their launches are short, and the same sizes come again.
static constexpr int32_t graphTokens = 16;
static constexpr size_t mostGraphs = 32;

/// Whether loop variants may run. The blocks of their kernels wait for one another: the GPU must hold them
/// all at once, one to a multiprocessor, with all the shared memory they were made for.
static bool canLoop(const LoadedModules &code) {
  if (const char *value = std::getenv("FUSEBOX_GPU_LOOPS"); value && std::string_view(value) == "off")
    return false;
  const plan::Program &program = *code.program;
  return std::all_of(program.launches.begin(), program.launches.end(), [&](const plan::Launch &launch) {
    uint64_t blocks = plan::loopBlocks(launch);
    uint32_t kernel = launch.variants.front().kernel;
    return blocks == 0 || (blocks <= uint64_t(code.gpu->info.multiprocessors) &&
                           code.sharedBytes[kernel] == program.kernels[kernel].scratchBytes);
  });
}

Result<std::shared_ptr<GpuExecutor>> GpuExecutor::create(std::shared_ptr<LoadedModules> code,
                                                         Bindings bindings) {
  std::shared_ptr<GpuExecutor> executor(new GpuExecutor);
  const StepCapacity &most = bindings.capacity;
  size_t words =
      size_t(3) * most.tokens + most.sequences + 1 + most.logitsRows + size_t(most.sequences) * most.maxPages;
  FUSEBOX_TRY(code->gpu->enter());
  FUSEBOX_CUDA(code->gpu->api, memAlloc(&executor->stepMemory, words * sizeof(int32_t)),
               "allocating memory for a step's arrays");
  executor->code = std::move(code);
  executor->bindings = std::move(bindings);
  executor->loops = canLoop(*executor->code);
  FUSEBOX_TRY(executor->readLaunches());
  FUSEBOX_TRY(executor->flatten());
  executor->code->beginChoosing();
  return executor;
}

GpuExecutor::~GpuExecutor() {
  if (!code || !code->gpu->enter())
    return;
  for (auto &[size, graph] : graphs)
    code->gpu->api.graphExecDestroy(graph.exec);
  code->gpu->api.memFree(stepMemory);
  if (tableMemory)
    code->gpu->api.memFree(tableMemory);
}

//===-- Binding
//-----------------------------------------------------------------------------------------------===//

Result<void> GpuExecutor::readLaunches() {
  auto addLimit = [&](uint32_t keys) {
    if (keys > 0 && std::find(keyLimits.begin(), keyLimits.end(), keys) == keyLimits.end())
      keyLimits.push_back(keys);
  };
  for (const plan::Launch &launch : code->program->launches) {
    // A loop variant reads a table; the other variants of its launch take the first arguments.
    if (launch.args.size() > Args::most && !launch.variants.front().loop)
      return modelError("launch " + launch.name + " has " + std::to_string(launch.args.size()) +
                        " arguments, a GPU kernel takes at most " + std::to_string(Args::most));
    for (const plan::Variant &variant : launch.variants) {
      addLimit(variant.minKeys);
      addLimit(variant.belowKeys);
    }
  }
  return {};
}

Result<void> GpuExecutor::flatten() {
  const plan::Program &program = *code->program;
  std::vector<DevicePtr> addresses;              // of all tables; a loop's launches add to one of them only
  std::vector<std::pair<size_t, size_t>> tables; // a launch, and where in `addresses` its table starts
  plan::forEachLaunch(program, [&](uint32_t index, int32_t layer, std::string_view block, bool first) {
    BoundLaunch &bound = launches.emplace_back(BoundLaunch{index, layer, block, {}});
    const plan::Launch &launch = program.launches[index];
    bool hasTable = plan::loopBlocks(launch) > 0;
    if (hasTable && first)
      tables.emplace_back(launches.size() - 1, addresses.size());
    for (size_t i = 0; i < launch.args.size(); ++i) {
      auto address = DevicePtr(uintptr_t(addressOf(program, bindings, launch.args[i], layer)));
      if (i < Args::most)
        bound.args.p[i] = address;
      if (hasTable)
        addresses.push_back(address);
    }
  });
  if (tables.empty())
    return {};
  addresses.resize(addresses.size() + Args::most); // a kernel may read so many from any place of a table
  FUSEBOX_TRY(placeTables(addresses));
  for (auto [launch, start] : tables)
    launches[launch].table = tableMemory + start * sizeof(DevicePtr);
  return {};
}

Result<void> GpuExecutor::placeTables(std::span<const DevicePtr> addresses) {
  const DriverApi &api = code->gpu->api;
  FUSEBOX_CUDA(api, memAlloc(&tableMemory, addresses.size_bytes()),
               "allocating memory for the addresses of layers");
  FUSEBOX_CUDA(api, memcpyHtoDAsync(tableMemory, addresses.data(), addresses.size_bytes(), nullptr),
               "copying the addresses of layers");
  FUSEBOX_CUDA(api, streamSynchronize(nullptr), "copying the addresses of layers");
  return {};
}

//===-- Running
//-----------------------------------------------------------------------------------------------===//

/// Copies the step's arrays to the GPU in one go; their places depend on the step's size alone.
Result<StepView> GpuExecutor::placeStep(GpuStream &stream, const StepView &step) {
  packed.clear();
  StepView placed = step;
  auto put = [&](const int32_t *&array, const int32_t *from, size_t count) {
    array = reinterpret_cast<const int32_t *>(uintptr_t(stepMemory)) + packed.size();
    packed.insert(packed.end(), from, from + count);
  };
  size_t tokens = size_t(step.tokens), sequences = size_t(step.sequences);
  put(placed.token, step.token, tokens);
  put(placed.position, step.position, tokens);
  put(placed.sequenceStart, step.sequenceStart, sequences + 1);
  put(placed.tokenSequence, step.tokenSequence, tokens);
  put(placed.logitsRow, step.logitsRow, size_t(step.logitsRows));
  put(placed.blockTable, step.blockTable, sequences * size_t(step.maxPages));
  FUSEBOX_TRY(stream.copyIn(stepMemory, std::as_bytes(std::span(packed))));
  return placed;
}

/// Queues one launch; false if the step has nothing to do for it.
Result<bool> GpuExecutor::launchOne(GpuStream &stream, const BoundLaunch &bound, const StepView &step,
                                    bool alone) {
  const plan::Program &program = *code->program;
  const plan::Launch &launch = program.launches[bound.launch];
  if (launch.selects != 0 && launch.selects != selection)
    return false;
  const plan::Variant &variant = selectVariant(launch, step, keys, alone, loops);
  if (variant.loop && bound.table == 0)
    return false; // the loop's one kernel does it
  uint64_t blocks[3];
  for (unsigned axis = 0; axis < 3; ++axis)
    blocks[axis] = gridSize(variant.grid[axis], step);
  if (blocks[0] * blocks[1] * blocks[2] == 0 || extentUnits(step, launch.rows) == 0)
    return false;
  const plan::Kernel &kernel = program.kernels[variant.kernel];
  Args args = variant.loop ? Args{{bound.table}} : bound.args;
  FUSEBOX_ASSIGN(bool byLibrary,
                 code->launchProduct(variant.kernel, stream.handle, args.p, extentUnits(step, launch.rows)));
  if (byLibrary)
    return true;
  // A kernel's blocks may come in while its predecessor still runs; kernels wait for their inputs themselves.
  LaunchAttribute attribute{};
  attribute.id = launchProgrammaticSerialization;
  attribute.programmaticStreamSerialization = 1;
  LaunchConfig config{unsigned(blocks[0]),
                      unsigned(blocks[1]),
                      unsigned(blocks[2]),
                      kernel.blockThreads,
                      1,
                      1,
                      code->sharedBytes[variant.kernel],
                      stream.handle,
                      &attribute,
                      1};
  StepView view = step;
  void *parameters[] = {&args, &view};
  FUSEBOX_CUDA(code->gpu->api, launchKernelEx(&config, code->kernels[variant.kernel], parameters, nullptr),
               "launching kernel " + kernel.name + " for " + launch.name);
  return true;
}

Result<void> GpuExecutor::launchAll(GpuStream &stream, const StepView &step) {
  for (const BoundLaunch &bound : launches)
    FUSEBOX_TRY(launchOne(stream, bound, step, false));
  return {};
}

static std::string nodeName(std::string_view block, int32_t layer, const std::string &name) {
  return layer < 0 ? name : std::string(block) + "." + std::to_string(layer) + "." + name;
}

/// Runs launches one at a time, each on its own if it is observed: then a fault has a name, and values can be
/// read.
Result<void> GpuExecutor::launchAlone(GpuStream &stream, const StepView &step,
                                      const LaunchObserver &observer) {
  for (const BoundLaunch &bound : launches) {
    const plan::Launch &launch = code->program->launches[bound.launch];
    const plan::Variant &variant = selectVariant(launch, step, keys, bool(observer), loops);
    stream.describe("kernel " + code->program->kernels[variant.kernel].name + " for " +
                    nodeName(bound.block, bound.layer, launch.name));
    FUSEBOX_ASSIGN(bool launched, launchOne(stream, bound, step, bool(observer)));
    FUSEBOX_TRY(stream.finish());
    if (launched && observer)
      FUSEBOX_TRY(observer({bound.launch, bound.layer, bound.block}));
  }
  return {};
}

/// The graph of a step's size, captured if this is the first step of it.
Result<GraphExec> GpuExecutor::capture(GpuStream &stream, const StepView &step) {
  auto reached =
      std::count_if(keyLimits.begin(), keyLimits.end(), [&](uint32_t limit) { return limit <= keys; });
  CapturedStep &entry = graphs[{step.tokens, step.sequences, step.logitsRows, step.maxPages,
                                int32_t(selection), int32_t(reached)}];
  entry.lastUse = ++uses;
  if (entry.exec)
    return entry.exec;
  const DriverApi &api = code->gpu->api;
  if (graphs.size() > mostGraphs) {
    auto oldest = std::min_element(graphs.begin(), graphs.end(), [](const auto &a, const auto &b) {
      return a.second.lastUse < b.second.lastUse;
    });
    FUSEBOX_TRY(stream.finish());
    api.graphExecDestroy(oldest->second.exec);
    graphs.erase(oldest);
  }
  Graph graph = nullptr;
  FUSEBOX_CUDA(api, streamBeginCapture(stream.handle, captureThreadLocal), "beginning to capture a step");
  Result<void> launched = launchAll(stream, step);
  Status ended = api.streamEndCapture(stream.handle, &graph);
  FUSEBOX_TRY(launched);
  if (ended != success)
    return driverError(api, ended, "capturing a step");
  Status made = api.graphInstantiate(&entry.exec, graph, 0);
  api.graphDestroy(graph);
  if (made != success)
    return driverError(api, made, "making a graph of a step");
  return entry.exec;
}

Result<void> GpuExecutor::run(GpuStream &stream, const StepView &step, const LaunchObserver &observer,
                              uint32_t wanted) {
  static const bool oneAtATime = [] {
    const char *value = std::getenv("FUSEBOX_GPU_SYNC");
    return value && std::string_view(value) == "1";
  }();
  selection = wanted;
  keys = keysSeen(step);
  FUSEBOX_TRY(code->gpu->enter());
  FUSEBOX_ASSIGN(StepView placed, placeStep(stream, step));
  if (observer || oneAtATime)
    return launchAlone(stream, placed, observer);
  stream.describe("a step of " + std::to_string(step.tokens) + " tokens");
  if (step.tokens > graphTokens)
    return launchAll(stream, placed);
  FUSEBOX_ASSIGN(GraphExec graph, capture(stream, placed));
  FUSEBOX_CUDA(code->gpu->api, graphLaunch(graph, stream.handle), "launching a step's graph");
  return {};
}

} // namespace fusebox::cuda
