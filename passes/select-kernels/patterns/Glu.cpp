// glu: activation(gate) · up.
#include "passes/select-kernels/KernelPattern.h"

using namespace fusebox;

static std::optional<llvm::SmallVector<KernelRequest, 2>> match(mlir::Operation *op, const MatchContext &) {
  auto glu = llvm::cast<layer::GluOp>(op);
  KernelShape shape = {
      {"columns", layer::columns(glu.getResult())},
      {"activation", int64_t(glu.getActivation())},
      {"type", typeNumber(glu.getResult())},
      {"roundActivation", int64_t(glu.getRounding() == layer::GluRounding::ActivationAndProduct)}};
  return {{{"glu",
            shape,
            {KernelArg::result(glu.getResult()), KernelArg::operand(glu.getGate()),
             KernelArg::operand(glu.getUp())},
            /*elementwise=*/true}}};
}

namespace fusebox {
extern const KernelPattern gluPattern = {"glu", "layer.glu", layer::Contract::Exact, match};
}
