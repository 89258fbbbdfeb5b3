// scale: a value times a constant.
#include "passes/select-kernels/KernelPattern.h"

using namespace fusebox;

static std::optional<llvm::SmallVector<KernelRequest, 2>> match(mlir::Operation *op, const MatchContext &) {
  auto scale = llvm::cast<layer::ScaleOp>(op);
  KernelShape shape = {{"columns", layer::columns(scale.getResult())},
                       {"type", typeNumber(scale.getResult())},
                       {"factor", scale.getFactor().convertToDouble()}};
  return {{{"scale",
            shape,
            {KernelArg::result(scale.getResult()), KernelArg::operand(scale.getInput())},
            /*elementwise=*/true}}};
}

namespace fusebox {
extern const KernelPattern scalePattern = {"scale", "layer.scale", layer::Contract::Exact, match};
}
