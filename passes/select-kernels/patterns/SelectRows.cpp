// select_rows: the rows whose logits are wanted.
#include "passes/select-kernels/KernelPattern.h"

using namespace fusebox;

static std::optional<llvm::SmallVector<KernelRequest, 2>> match(mlir::Operation *op, const MatchContext &) {
  auto select = llvm::cast<layer::SelectRowsOp>(op);
  KernelShape shape = {{"columns", layer::columns(select.getInput())},
                       {"type", typeNumber(select.getInput())}};
  return {{{"select_rows",
            shape,
            {KernelArg::result(select.getResult()), KernelArg::operand(select.getInput())}}}};
}

namespace fusebox {
extern const KernelPattern selectRowsPattern = {"select_rows", "layer.select_rows", layer::Contract::Exact,
                                                match};
}
