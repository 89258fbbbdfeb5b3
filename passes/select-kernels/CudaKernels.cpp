// The CUDA kernel table, as select-kernels sees it.
#include "passes/select-kernels/CudaKernels.h"
#include "kernels/cuda/Variants.h"

using namespace fusebox;

namespace {

class CudaKernels : public TargetKernels {
public:
  explicit CudaKernels(const cuda::Chip *chip, std::string machine)
      : chip(chip), machine(std::move(machine)) {}

  bool generatesPointwise() const override { return true; }

  Result<llvm::SmallVector<KernelVariant, 2>> variants(mlir::MLIRContext *context, const std::string &kernel,
                                                       const KernelShape &shape,
                                                       plan::RowExtent extent) const override {
    if (!chip)
      return usageError("no chip is called " + machine + ": " + knownChips());
    cuda::Shape constants;
    for (const auto &[name, value] : shape.dimensions)
      constants[name] = std::visit([](auto number) { return double(number); }, value);
    FUSEBOX_ASSIGN(auto table, cuda::kernelVariants(kernel, constants, plan::Extent(extent), *chip));
    llvm::SmallVector<KernelVariant, 2> variants;
    for (const cuda::KernelVariant &entry : table)
      variants.push_back(toKernelVariant(context, entry));
    return variants;
  }

  llvm::SmallVector<SelectionKernels, 2> selections(mlir::MLIRContext *context,
                                                    int64_t vocabulary) const override {
    llvm::SmallVector<SelectionKernels, 2> selections;
    for (const cuda::SelectionKernels &entry : cuda::selectionKernels(uint32_t(vocabulary), *chip))
      selections.push_back({entry.count,
                            {{toKernelVariant(context, entry.groups), entry.groupBytes},
                             {toKernelVariant(context, entry.largest), entry.resultBytes}}});
    return selections;
  }

private:
  const cuda::Chip *chip;
  std::string machine;

  static std::string knownChips() {
    std::string text = "expected";
    for (const cuda::Chip &chip : cuda::chips())
      text += std::string(" ") + chip.name;
    return text;
  }
};

} // namespace

KernelVariant fusebox::toKernelVariant(mlir::MLIRContext *context, const cuda::KernelVariant &entry) {
  KernelVariant variant;
  variant.kernel = entry.request.symbol;
  const cuda::KernelEntry *kernel = cuda::findKernel(entry.request.symbol);
  for (const char *name : kernel->integers)
    variant.shape.dimensions.emplace_back(name, cuda::shapeInteger(entry.request.shape, name));
  for (const char *name : kernel->reals)
    variant.shape.dimensions.emplace_back(name, cuda::shapeValue(entry.request.shape, name));
  variant.maxRows = entry.maxRows;
  variant.minKeys = entry.minKeys;
  variant.scratchBytes = entry.sharedBytes;
  variant.blockThreads = entry.blockThreads;
  variant.grid = gridAttrs(context, entry.grid);
  return variant;
}

std::unique_ptr<TargetKernels> fusebox::cudaKernels(const TargetSpec &target) {
  return std::make_unique<CudaKernels>(cuda::findChip(target.machine), target.machine);
}
