#include "test/device/Gpu.h"

#include "runtime/cuda/Nvrtc.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>

namespace fusebox::gputest {

void fail(const std::string &message) {
  std::fflush(stdout);
  std::fprintf(stderr, "FAILED: %s\n", message.c_str());
  std::_Exit(1);
}

std::vector<std::byte> KernelStore::cubin(const std::string &name, const std::string &source,
                                          const std::string &chip) {
  uint64_t hash = 0xcbf29ce484222325ull; // FNV-1a
  for (unsigned char c : source)
    hash = (hash ^ c) * 0x100000001b3ull;
  char suffix[64];
  std::snprintf(suffix, sizeof suffix, ".%016llx.%s.cubin", static_cast<unsigned long long>(hash),
                chip.c_str());
  std::string path = folder + "/" + name + suffix;
  if (std::ifstream file(path, std::ios::binary | std::ios::ate); file) {
    std::vector<std::byte> bytes(size_t(file.tellg()));
    file.seekg(0);
    file.read(reinterpret_cast<char *>(bytes.data()), std::streamsize(bytes.size()));
    return bytes;
  }
  cuda::CompiledModule module = expect(cuda::compileCuda(source, name + ".cu", chip));
  for (const cuda::KernelResources &kernel : module.kernels)
    std::printf("compiled %-34s %-7s %3u registers, %u spilled bytes, %u stack, %u shared\n",
                kernel.name.c_str(), chip.c_str(), kernel.registers, kernel.spillBytes, kernel.stackBytes,
                kernel.sharedBytes);
  if (!folder.empty()) {
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char *>(module.cubin.data()), std::streamsize(module.cubin.size()));
  }
  return module.cubin;
}

std::string sourceOf(const cuda::KernelRequest &request, bool bulkCopies) {
  std::string source = expect(cuda::kernelSource(request));
  bool copies = source.find("hasBulkCopies") != std::string::npos;
  return (copies && !bulkCopies ? "#define FUSEBOX_WITHOUT_BULK_COPIES\n" : "") + source;
}

Memory::Memory(Gpu &gpu, size_t bytes) : bytes(bytes), gpu(&gpu) {
  gpu.check(gpu.api.memAlloc(&address, std::max<size_t>(bytes, 256)),
            "allocating " + std::to_string(bytes) + " bytes");
}

Memory &Memory::operator=(Memory &&other) noexcept {
  std::swap(address, other.address);
  std::swap(bytes, other.bytes);
  std::swap(gpu, other.gpu);
  return *this;
}

Memory::~Memory() {
  if (gpu && address)
    gpu->api.memFree(address);
}

Gpu::Gpu(KernelStore store, int index) : api(*expect(cuda::driver())), store(std::move(store)) {
  auto gpus = expect(cuda::listGpus());
  if (size_t(index) >= gpus.size())
    fail("there is no GPU " + std::to_string(index));
  info = gpus[size_t(index)];
  multiprocessors = unsigned(info.multiprocessors);
  check(api.deviceGet(&device, index), "opening the GPU");
  check(api.primaryContextRetain(&context, device), "creating a context");
  check(api.contextSetCurrent(context), "entering the context");
  check(api.streamCreate(&stream, cuda::streamNonBlocking), "creating a stream");
}

Gpu::~Gpu() {
  api.streamDestroy(stream);
  api.primaryContextRelease(device);
}

void Gpu::check(cuda::Status status, const std::string &what) {
  if (status != cuda::success)
    fail(what + ": " + cuda::statusText(api, status));
}

void Gpu::copyToDevice(cuda::DevicePtr to, const void *from, size_t bytes) {
  check(api.memcpyHtoDAsync(to, from, bytes, stream), "copying to the GPU");
  synchronise("copy to the GPU");
}

void Gpu::copyToHost(void *to, cuda::DevicePtr from, size_t bytes) {
  check(api.memcpyDtoHAsync(to, from, bytes, stream), "copying from the GPU");
  synchronise("copy from the GPU");
}

void Gpu::copyOnDevice(cuda::DevicePtr to, cuda::DevicePtr from, size_t bytes) {
  check(api.memcpyDtoDAsync(to, from, bytes, stream), "copying on the GPU");
}

void Gpu::fill(const Memory &memory, unsigned char value) {
  check(api.memsetD8Async(memory.address, value, memory.bytes, stream), "filling memory");
}

DeviceStep Gpu::step(const std::vector<int> &tokens, const std::vector<int> &positions,
                     const std::vector<int> &sequences, int maxPages) {
  DeviceStep step;
  int count = int(tokens.size()), sequenceCount = 1 + *std::max_element(sequences.begin(), sequences.end());
  std::vector<int> starts(size_t(sequenceCount) + 1, count), pages(size_t(sequenceCount) * maxPages),
      rows(tokens.size());
  for (int n = count - 1; n >= 0; --n)
    starts[size_t(sequences[size_t(n)])] = n;
  for (size_t i = 0; i < pages.size(); ++i)
    pages[i] = int(i);
  for (size_t i = 0; i < rows.size(); ++i)
    rows[i] = int(i);
  for (const auto &array : {tokens, positions, starts, sequences, pages, rows})
    step.arrays.push_back(upload(array));
  auto pointer = [&](int i) { return reinterpret_cast<const int32_t *>(step.arrays[size_t(i)].address); };
  step.view = {count,      sequenceCount, count,      maxPages,   pointer(0),
               pointer(1), pointer(2),    pointer(3), pointer(4), pointer(5)};
  return step;
}

cuda::Function Gpu::kernelFromSource(const std::string &name, const std::string &source) {
  cuda::Function &function = functions[name];
  if (!function) {
    std::vector<std::byte> cubin = store.cubin(name, source, info.chip());
    cuda::ModuleHandle module = nullptr;
    check(api.moduleLoadData(&module, cubin.data()), "loading kernel " + name);
    check(api.moduleGetFunction(&function, module, name.c_str()), "finding kernel " + name);
  }
  return function;
}

cuda::Function Gpu::kernel(const cuda::KernelRequest &request) {
  std::string name = cuda::kernelName(request);
  if (auto found = functions.find(name); found != functions.end())
    return found->second;
  cuda::Function function = kernelFromSource(name, sourceOf(request, bulkCopies));
  if (unsigned bytes = cuda::findKernel(request.symbol)->sharedBytes(request.shape))
    check(api.funcSetAttribute(function, cuda::functionMaxDynamicShared, int(bytes)),
          "reserving shared memory");
  return function;
}

void Gpu::launchRaw(cuda::Function function, unsigned gridX, unsigned gridY, unsigned threads,
                    void **parameters, unsigned sharedBytes) {
  cuda::LaunchAttribute attribute{};
  attribute.id = cuda::launchProgrammaticSerialization;
  attribute.programmaticStreamSerialization = 1;
  cuda::LaunchConfig config{gridX, gridY,       1,      threads,    1,
                            1,     sharedBytes, stream, &attribute, dependentLaunch ? 1u : 0u};
  check(api.launchKernelEx(&config, function, parameters, nullptr), "launching a kernel");
}

void Gpu::launch(const cuda::KernelRequest &request, const std::vector<cuda::DevicePtr> &args,
                 const StepView &step, unsigned blocks) {
  const cuda::KernelEntry *entry = cuda::findKernel(request.symbol);
  plan::GridDim grid[3];
  entry->grid(request.shape, multiprocessors, grid);
  struct {
    cuda::DevicePtr p[12];
  } pointers{};
  if (args.size() > 12)
    fail("too many arguments for " + request.symbol);
  std::copy(args.begin(), args.end(), pointers.p);
  StepView view = step;
  void *parameters[] = {&pointers, &view};
  launchRaw(kernel(request), blocks ? blocks : unsigned(gridSize(grid[0], step)),
            unsigned(gridSize(grid[1], step)), entry->threads(request.shape), parameters,
            entry->sharedBytes(request.shape));
}

void Gpu::synchronise(const std::string &what) {
  using Clock = std::chrono::steady_clock;
  auto deadline = Clock::now() + std::chrono::seconds(60);
  for (;;) {
    cuda::Status status = api.streamQuery(stream);
    if (status == cuda::success)
      return;
    if (status != cuda::errorNotReady)
      fail(what + ": " + cuda::statusText(api, status));
    if (Clock::now() > deadline)
      fail(what + ": a kernel did not return within 60 s");
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

double Gpu::timeGraph(const std::string &what, const std::function<void()> &record, int inner, int repeats) {
  record(); // loads every kernel, and shows a fault outside the capture
  synchronise(what);
  cuda::Graph graph = nullptr;
  cuda::GraphExec exec = nullptr;
  check(api.streamBeginCapture(stream, cuda::captureThreadLocal), what + ": beginning capture");
  record();
  check(api.streamEndCapture(stream, &graph), what + ": ending capture");
  check(api.graphInstantiate(&exec, graph, 0), what + ": instantiating the graph");
  cuda::EventHandle begin = nullptr, end = nullptr;
  check(api.eventCreate(&begin, cuda::eventDefault), "creating an event");
  check(api.eventCreate(&end, cuda::eventDefault), "creating an event");
  std::vector<double> times;
  for (int r = 0; r <= repeats; ++r) {
    check(api.eventRecord(begin, stream), "recording an event");
    for (int i = 0; i < inner; ++i)
      check(api.graphLaunch(exec, stream), what + ": launching the graph");
    check(api.eventRecord(end, stream), "recording an event");
    synchronise(what);
    float elapsed = 0;
    check(api.eventElapsedTime(&elapsed, begin, end), "reading a time");
    if (r)
      times.push_back(elapsed / inner);
  }
  api.eventDestroy(begin);
  api.eventDestroy(end);
  api.graphExecDestroy(exec);
  api.graphDestroy(graph);
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

} // namespace fusebox::gputest
