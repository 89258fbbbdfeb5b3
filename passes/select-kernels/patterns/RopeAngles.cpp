// rope_angles: cos and sin of each row's rotation angles.
#include "passes/select-kernels/KernelPattern.h"

using namespace fusebox;

static std::optional<llvm::SmallVector<KernelRequest, 2>> match(mlir::Operation *op, const MatchContext &) {
  auto angles = llvm::cast<layer::RopeAnglesOp>(op);
  llvm::ArrayRef<float> frequencies = angles.getInvFreq();
  KernelShape shape = {{"half", int64_t(frequencies.size())},
                       {"outType", typeNumber(angles.getResult())},
                       {"attentionFactor", angles.getAttentionFactor().convertToDouble()}};
  auto type =
      mlir::RankedTensorType::get({int64_t(frequencies.size())}, mlir::Float32Type::get(op->getContext()));
  auto data = mlir::DenseElementsAttr::get(type, frequencies);
  return {{{"rope_angles", shape, {KernelArg::result(angles.getResult()), KernelArg::constant(data)}}}};
}

namespace fusebox {
extern const KernelPattern ropeAnglesPattern = {"rope_angles", "layer.rope_angles", layer::Contract::Exact,
                                                match};
}
