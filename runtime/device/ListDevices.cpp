#include "runtime/device/ListDevices.h"

#include "runtime/cpu/HostMemory.h"
#include "runtime/cuda/CublasLt.h"
#include "runtime/cuda/Driver.h"
#include "runtime/cuda/Nvrtc.h"
#include "runtime/device/Device.h"

using namespace fusebox;

Result<std::vector<DeviceInfo>> fusebox::listDevices() {
  std::vector<DeviceInfo> devices;
  FUSEBOX_ASSIGN(Device cpu, openDevice({}));
  devices.push_back({plan::TargetKind::Cpu, 0, cpu.name, "cpu", cpu::availableHostMemory(), true, {}});
  auto gpus = cuda::listGpus();
  if (!gpus) {
    devices.push_back({plan::TargetKind::Cuda, 0, "NVIDIA GPU", "cuda", 0, false, gpus.error().message});
    return devices;
  }
  for (const cuda::GpuInfo &gpu : *gpus) {
    DeviceInfo info = {plan::TargetKind::Cuda, uint32_t(gpu.index), gpu.name,     "cuda:" + gpu.chip(),
                       gpu.memoryBytes,        gpu.usable(),        gpu.problem()};
    devices.push_back(std::move(info));
  }
  return devices;
}

std::vector<LibraryInfo> fusebox::listLibraries() {
  auto nvrtc = cuda::nvrtcVersion(), cublasLt = cuda::cublasLtVersion();
  return {{"NVRTC", nvrtc ? *nvrtc : "", "compiles kernels for GPUs", nvrtc ? "" : nvrtc.error().message},
          {"cuBLASLt", cublasLt ? *cublasLt : "", "computes products of many rows on GPUs",
           cublasLt ? "" : cublasLt.error().message + "; until then our own kernels do"}};
}
