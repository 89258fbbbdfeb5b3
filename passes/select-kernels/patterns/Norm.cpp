// norm: RMS norm with gain, of a row or of each head of a row.
#include "passes/select-kernels/KernelPattern.h"

using namespace fusebox;

static std::optional<llvm::SmallVector<KernelRequest, 2>> match(mlir::Operation *op,
                                                                const MatchContext &context) {
  auto norm = llvm::cast<layer::NormOp>(op);
  int64_t groups = norm.getGroups();
  bool roundsTwice = norm.getRounding() == layer::NormRounding::NormalisedAndScaled;
  KernelShape shape = {{"columns", layer::columns(norm.getInput()) / groups},
                       {"groups", groups},
                       {"type", typeNumber(norm.getResult())},
                       {"gainType", int64_t(context.weightType(norm.getGain()))},
                       {"roundNormalised", int64_t(roundsTwice)},
                       {"onePlus", int64_t(norm.getOnePlus())},
                       {"eps", norm.getEps().convertToDouble()}};
  return {{{"norm",
            shape,
            {KernelArg::result(norm.getResult()), KernelArg::operand(norm.getInput()),
             KernelArg::weight(norm.getGain())}}}};
}

namespace fusebox {
extern const KernelPattern normPattern = {"norm", "layer.norm", layer::Contract::Exact, match};
}
