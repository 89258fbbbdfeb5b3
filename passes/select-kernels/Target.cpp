// Names of targets, and the kernel table of each kind.
#include "passes/select-kernels/CudaKernels.h"

using namespace fusebox;

namespace fusebox {
std::unique_ptr<TargetKernels> cpuKernels();
}

Result<TargetSpec> TargetSpec::parse(std::string_view text) {
  llvm::StringRef rest(text.data(), text.size());
  TargetSpec target;
  if (rest.consume_front("cuda:"))
    target.kind = plan::DeviceKind::Cuda;
  else if (!rest.consume_front("cpu:"))
    return usageError("unknown target '" + std::string(text) +
                      "': expected cpu:<machine>, e.g. cpu:x86-64-v3, or cuda:<chip>, e.g. cuda:sm_90a");
  target.label = rest.str();
  auto [machine, features] = rest.split('+');
  target.machine = machine.str();
  target.features = features.str();
  std::replace(target.features.begin(), target.features.end(), '+', ',');
  return target;
}

std::unique_ptr<TargetKernels> fusebox::targetKernels(const TargetSpec &target) {
  return target.kind == plan::DeviceKind::Cpu ? cpuKernels() : cudaKernels(target);
}

llvm::SmallVector<plan::DimAttr, 3> fusebox::gridAttrs(mlir::MLIRContext *context,
                                                       llvm::ArrayRef<plan::GridDim> grid) {
  llvm::SmallVector<plan::DimAttr, 3> dims;
  for (const plan::GridDim &dim : grid)
    dims.push_back(plan::DimAttr::get(context, dim.count, plan::RowExtent(dim.extent), int64_t(dim.tile)));
  plan::DimAttr one = plan::DimAttr::get(context, 1, plan::RowExtent::Fixed, 1);
  while (dims.size() > 1 && dims.back() == one)
    dims.pop_back();
  return dims;
}
