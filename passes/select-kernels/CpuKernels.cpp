// The CPU's kernel table, as select-kernels sees it.
#include "kernels/cpu/KernelTable.h"
#include "passes/select-kernels/TargetKernels.h"

using namespace fusebox;

namespace {

class CpuKernels : public TargetKernels {
public:
  Result<llvm::SmallVector<KernelVariant, 2>> variants(mlir::MLIRContext *context, const std::string &kernel,
                                                       const KernelShape &shape,
                                                       plan::RowExtent extent) const override {
    cpu::Fields fields(shape.dimensions.begin(), shape.dimensions.end());
    FUSEBOX_ASSIGN(auto table, cpu::kernelVariants(kernel, fields, plan::Extent(extent)));
    llvm::SmallVector<KernelVariant, 2> variants;
    for (const cpu::KernelVariant &entry : table) {
      KernelVariant &variant = variants.emplace_back();
      variant.kernel = kernel;
      variant.shape.dimensions.assign(entry.fields.begin(), entry.fields.end());
      variant.maxRows = entry.maxRows;
      variant.scratchBytes = int64_t(entry.scratchBytes);
      for (const plan::GridDim &dim : entry.grid)
        variant.grid.push_back(
            plan::DimAttr::get(context, dim.count, plan::RowExtent(dim.extent), int64_t(dim.tile)));
      while (variant.grid.size() > 1 &&
             variant.grid.back() == plan::DimAttr::get(context, 1, plan::RowExtent::Fixed, 1))
        variant.grid.pop_back();
    }
    return variants;
  }
};

} // namespace

namespace fusebox {
std::unique_ptr<TargetKernels> cpuKernels() { return std::make_unique<CpuKernels>(); }
} // namespace fusebox
