#include "runtime/cuda/Driver.h"

#include <dlfcn.h>

namespace fusebox::cuda {

namespace {

/// Drivers older than CUDA 12.3 can't put programmatic dependencies into graphs.
constexpr int oldestDriver = 12030;

struct LoadedDriver {
  DriverApi api;
  std::string problem; ///< empty if the driver can be used
};

std::string versionText(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

LoadedDriver loadDriver() {
  LoadedDriver loaded;
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    for (const char *path : {"/usr/local/nvidia/lib64/libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"})
      if ((library = dlopen(path, RTLD_NOW | RTLD_LOCAL)))
        break;
  if (!library) {
    loaded.problem = "no NVIDIA driver: libcuda.so.1 was not found; install the driver, or use --target cpu";
    return loaded;
  }
#define FUSEBOX_CUDA_LOAD(member, symbol, parameters)                                                        \
  loaded.api.member = reinterpret_cast<Status(*) parameters>(dlsym(library, #symbol));                       \
  if (!loaded.api.member && loaded.problem.empty())                                                          \
    loaded.problem = "the NVIDIA driver is too old: libcuda.so.1 lacks " #symbol                             \
                     "; a driver for CUDA 12.3 or newer is needed";
  FUSEBOX_CUDA_FUNCTIONS(FUSEBOX_CUDA_LOAD)
#undef FUSEBOX_CUDA_LOAD
  if (!loaded.problem.empty())
    return loaded;
  int version = 0;
  if (loaded.api.driverGetVersion(&version) != success || version < oldestDriver) {
    loaded.problem =
        "the NVIDIA driver is too old: it is for CUDA " + versionText(version) + ", 12.3 or newer is needed";
    return loaded;
  }
  if (Status status = loaded.api.init(0); status != success)
    loaded.problem = "the NVIDIA driver can't be used: " + statusText(loaded.api, status);
  return loaded;
}

} // namespace

std::string statusText(const DriverApi &api, Status status) {
  const char *name = nullptr, *text = nullptr;
  if (api.getErrorName)
    api.getErrorName(status, &name);
  if (api.getErrorString)
    api.getErrorString(status, &text);
  return (name ? std::string(name) : "CUDA error " + std::to_string(status)) +
         (text ? std::string(": ") + text : "");
}

Error driverError(const DriverApi &api, Status status, const std::string &what) {
  std::string message = what + ": " + statusText(api, status);
  return status == errorOutOfMemory ? resourceError(std::move(message)) : internalError(std::move(message));
}

Result<const DriverApi *> driver() {
  static const LoadedDriver loaded = loadDriver();
  if (!loaded.problem.empty())
    return resourceError(loaded.problem);
  return &loaded.api;
}

std::string GpuInfo::chip() const {
  std::string name = "sm_" + std::to_string(major) + std::to_string(minor);
  return name == "sm_90" ? "sm_90a" : name;
}

std::string GpuInfo::problem() const {
  return usable() ? ""
                  : "compute capability " + std::to_string(major) + "." + std::to_string(minor) +
                        ": the kernels need 8.0 or newer; use --target cpu";
}

Result<std::vector<GpuInfo>> listGpus() {
  FUSEBOX_ASSIGN(const DriverApi *api, driver());
  int count = 0;
  FUSEBOX_CUDA(*api, deviceGetCount(&count), "counting GPUs");
  std::vector<GpuInfo> gpus;
  for (int i = 0; i < count; ++i) {
    DeviceHandle device = 0;
    GpuInfo gpu;
    gpu.index = i;
    char name[256] = {};
    size_t bytes = 0;
    int l2 = 0, shared = 0;
    FUSEBOX_CUDA(*api, deviceGet(&device, i), "opening GPU " + std::to_string(i));
    FUSEBOX_CUDA(*api, deviceGetName(name, sizeof name, device), "reading the GPU's name");
    FUSEBOX_CUDA(*api, deviceGetAttribute(&gpu.major, attributeMajor, device),
                 "reading the GPU's capability");
    FUSEBOX_CUDA(*api, deviceGetAttribute(&gpu.minor, attributeMinor, device),
                 "reading the GPU's capability");
    FUSEBOX_CUDA(*api, deviceGetAttribute(&gpu.multiprocessors, attributeMultiprocessors, device),
                 "counting the GPU's multiprocessors");
    FUSEBOX_CUDA(*api, deviceGetAttribute(&l2, attributeL2Bytes, device), "reading the GPU's cache size");
    FUSEBOX_CUDA(*api, deviceGetAttribute(&shared, attributeSharedMost, device),
                 "reading the GPU's shared memory size");
    FUSEBOX_CUDA(*api, deviceTotalMem(&bytes, device), "reading the GPU's memory size");
    gpu.name = name;
    gpu.memoryBytes = bytes;
    gpu.l2Bytes = uint64_t(l2);
    gpu.sharedBytes = uint64_t(shared);
    gpus.push_back(std::move(gpu));
  }
  return gpus;
}

} // namespace fusebox::cuda
