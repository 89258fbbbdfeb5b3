// The kernel registry: every pattern there is. A new kernel adds its name in the two lists below.
#include "passes/select-kernels/KernelPattern.h"

namespace fusebox {

extern const KernelPattern addPattern, attentionPattern, castPattern, embedPattern, gluPattern,
    linearInt8Pattern, linearPattern, normPattern, ropeAnglesPattern, ropePattern, scalePattern,
    selectRowsPattern, softcapPattern;

llvm::ArrayRef<const KernelPattern *> kernelPatterns() {
  static constexpr const KernelPattern *all[] = {
      &addPattern,        &attentionPattern,  &castPattern,   &embedPattern,      &gluPattern,
      &linearInt8Pattern, &linearPattern,     &normPattern,   &ropeAnglesPattern, &ropePattern,
      &scalePattern,      &selectRowsPattern, &softcapPattern};
  return all;
}

std::optional<DType> elementDType(mlir::Type type) {
  if (auto shaped = llvm::dyn_cast<mlir::ShapedType>(type))
    type = shaped.getElementType();
  if (auto block = llvm::dyn_cast<layer::BlockType>(type))
    return dtypeFromName(std::string_view(block.getFormat()));
  if (type.isF64())
    return DType::F64;
  if (type.isF32())
    return DType::F32;
  if (type.isF16())
    return DType::F16;
  if (type.isBF16())
    return DType::BF16;
  return std::nullopt;
}

} // namespace fusebox
