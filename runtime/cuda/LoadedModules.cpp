#include "runtime/cuda/CubinCache.h"
#include "runtime/cuda/GpuExecutor.h"

#include <algorithm>

namespace fusebox::cuda {

/// The cubin of a module for a chip, or nothing.
static const plan::Cubin *findCubin(const plan::Module &module, const std::string &chip) {
  for (const plan::Cubin &cubin : module.cubins)
    if (cubin.chip == chip)
      return &cubin;
  return nullptr;
}

Result<std::shared_ptr<LoadedModules>> LoadedModules::load(const plan::Program &program,
                                                           std::shared_ptr<GpuContext> gpu, unsigned threads,
                                                           const LoadProgress &progress) {
  auto code = std::make_shared<LoadedModules>();
  code->program = &program;
  code->gpu = gpu;
  const std::string chip = gpu->info.chip();
  std::vector<KernelText> missing;
  for (const plan::Module &module : program.modules)
    if (!findCubin(module, chip))
      missing.push_back({module.name, module.source, module.options});
  std::vector<std::vector<std::byte>> compiled;
  if (!missing.empty()) {
    FUSEBOX_ASSIGN(compiled, compileCubins(missing, chip, threads, progress));
  }
  FUSEBOX_TRY(gpu->enter());
  size_t next = 0;
  for (const plan::Module &module : program.modules) {
    const plan::Cubin *cubin = findCubin(module, chip);
    const std::vector<std::byte> &bytes = cubin ? cubin->bytes : compiled[next++];
    ModuleHandle handle = nullptr;
    FUSEBOX_CUDA(gpu->api, moduleLoadData(&handle, bytes.data()), "loading kernel " + module.name);
    code->modules.push_back(handle);
  }
  for (const plan::Kernel &kernel : program.kernels) {
    Function function = nullptr;
    FUSEBOX_CUDA(gpu->api, moduleGetFunction(&function, code->modules[kernel.module], kernel.symbol.c_str()),
                 "finding kernel " + kernel.name);
    const uint64_t shared = std::min(kernel.scratchBytes, gpu->info.sharedBytes);
    if (shared)
      FUSEBOX_CUDA(gpu->api, funcSetAttribute(function, functionMaxDynamicShared, int(shared)),
                   "reserving shared memory for kernel " + kernel.name);
    code->kernels.push_back(function);
    code->sharedBytes.push_back(unsigned(shared));
  }
  return code;
}

void LoadedModules::beginChoosing() {
  auto isProduct = [](const plan::Kernel &kernel) { return kernel.product.in != 0; };
  if (!choosing.valid() && std::any_of(program->kernels.begin(), program->kernels.end(), isProduct))
    choosing = std::async(std::launch::async, [this] { chooseProducts(); }).share();
}

/// Hands the program's products to cuBLASLt where it is there and takes them; the others keep their kernels.
void LoadedModules::chooseProducts() {
  auto opened = gpu->enter() ? CublasLt::open() : resourceError("no context");
  if (!opened)
    return;
  library = std::move(*opened);
  std::vector<std::optional<LibraryProduct>> chosen(program->kernels.size());
  uint64_t workspaceBytes = 0;
  for (size_t i = 0; i < chosen.size(); ++i)
    if (const plan::Product &product = program->kernels[i].product; product.in != 0)
      if (auto choice = library->choose(product)) {
        workspaceBytes = std::max(workspaceBytes, choice->workspaceBytes());
        chosen[i].emplace(std::move(*choice));
      }
  if (workspaceBytes == 0 || gpu->api.memAlloc(&workspace, workspaceBytes) == success)
    products = std::move(chosen);
}

Result<bool> LoadedModules::launchProduct(uint32_t kernel, StreamHandle stream, const DevicePtr *args,
                                          uint64_t rows) const {
  if (program->kernels[kernel].product.in == 0)
    return false;
  if (choosing.valid())
    choosing.wait();
  if (kernel >= products.size() || !products[kernel])
    return false;
  FUSEBOX_TRY(products[kernel]->launch(stream, args[0], args[1], args[2], args[3], workspace, rows));
  return true;
}

LoadedModules::~LoadedModules() {
  if (choosing.valid())
    choosing.wait();
  if (!gpu || !gpu->enter())
    return;
  if (workspace)
    gpu->api.memFree(workspace);
  for (ModuleHandle module : modules)
    gpu->api.moduleUnload(module);
}

} // namespace fusebox::cuda
