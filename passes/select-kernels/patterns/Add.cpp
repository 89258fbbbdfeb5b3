// add: sum of two values, e.g. a residual.
#include "passes/select-kernels/KernelPattern.h"

using namespace fusebox;

static std::optional<llvm::SmallVector<KernelRequest, 2>> match(mlir::Operation *op, const MatchContext &) {
  auto add = llvm::cast<layer::AddOp>(op);
  KernelShape shape = {{"columns", layer::columns(add.getResult())}, {"type", typeNumber(add.getResult())}};
  return {{{"add",
            shape,
            {KernelArg::result(add.getResult()), KernelArg::operand(add.getLhs()),
             KernelArg::operand(add.getRhs())},
            /*elementwise=*/true}}};
}

namespace fusebox {
extern const KernelPattern addPattern = {"add", "layer.add", layer::Contract::Exact, match};
}
