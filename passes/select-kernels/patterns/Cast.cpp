// cast: a value in another element type.
#include "passes/select-kernels/KernelPattern.h"

using namespace fusebox;

static std::optional<llvm::SmallVector<KernelRequest, 2>> match(mlir::Operation *op, const MatchContext &) {
  auto cast = llvm::cast<layer::CastOp>(op);
  KernelShape shape = {{"columns", layer::columns(cast.getResult())},
                       {"inType", typeNumber(cast.getInput())},
                       {"outType", typeNumber(cast.getResult())}};
  return {{{"cast",
            shape,
            {KernelArg::result(cast.getResult()), KernelArg::operand(cast.getInput())},
            /*elementwise=*/true}}};
}

namespace fusebox {
extern const KernelPattern castPattern = {"cast", "layer.cast", layer::Contract::Exact, match};
}
