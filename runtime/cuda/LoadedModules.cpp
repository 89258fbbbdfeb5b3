#include "runtime/cuda/CubinCache.h"
#include "runtime/cuda/GpuExecutor.h"

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
      missing.push_back({module.name, module.source});
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
    if (kernel.scratchBytes)
      FUSEBOX_CUDA(gpu->api, funcSetAttribute(function, functionMaxDynamicShared, int(kernel.scratchBytes)),
                   "reserving shared memory for kernel " + kernel.name);
    code->kernels.push_back(function);
  }
  return code;
}

LoadedModules::~LoadedModules() {
  if (gpu && gpu->enter())
    for (ModuleHandle module : modules)
      gpu->api.moduleUnload(module);
}

} // namespace fusebox::cuda
