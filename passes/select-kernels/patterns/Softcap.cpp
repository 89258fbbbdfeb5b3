// softcap: cap · tanh(x / cap).
#include "passes/select-kernels/KernelPattern.h"

using namespace fusebox;

static std::optional<llvm::SmallVector<KernelRequest, 2>> match(mlir::Operation *op, const MatchContext &) {
  auto softcap = llvm::cast<layer::SoftcapOp>(op);
  KernelShape shape = {{"columns", layer::columns(softcap.getResult())},
                       {"type", typeNumber(softcap.getResult())},
                       {"cap", softcap.getCap().convertToDouble()}};
  return {{{"softcap",
            shape,
            {KernelArg::result(softcap.getResult()), KernelArg::operand(softcap.getInput())},
            /*elementwise=*/true}}};
}

namespace fusebox {
extern const KernelPattern softcapPattern = {"softcap", "layer.softcap", layer::Contract::Exact, match};
}
