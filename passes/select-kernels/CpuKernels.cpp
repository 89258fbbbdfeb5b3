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
      variant.grid = gridAttrs(context, entry.grid);
    }
    return variants;
  }
};

} // namespace

namespace fusebox {
std::unique_ptr<TargetKernels> cpuKernels() { return std::make_unique<CpuKernels>(); }
} // namespace fusebox
