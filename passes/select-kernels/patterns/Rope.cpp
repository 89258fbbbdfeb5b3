// rope: rotary position embedding of each head.
#include "passes/select-kernels/KernelPattern.h"

using namespace fusebox;

static std::optional<llvm::SmallVector<KernelRequest, 2>> match(mlir::Operation *op, const MatchContext &) {
  auto rope = llvm::cast<layer::RopeOp>(op);
  int64_t heads = rope.getHeads();
  KernelShape shape = {{"heads", heads},
                       {"headDim", layer::columns(rope.getInput()) / heads},
                       {"rotaryDim", layer::columns(rope.getAngles())},
                       {"interleaved", int64_t(rope.getPairs() == layer::RopePairs::Interleaved)},
                       {"type", typeNumber(rope.getResult())},
                       {"anglesType", typeNumber(rope.getAngles())},
                       {"roundProducts", int64_t(rope.getRounding() == layer::RopeRounding::ProductsAndSum)}};
  return {{{"rope",
            shape,
            {KernelArg::result(rope.getResult()), KernelArg::operand(rope.getInput()),
             KernelArg::operand(rope.getAngles())}}}};
}

namespace fusebox {
extern const KernelPattern ropePattern = {"rope", "layer.rope", layer::Contract::Exact, match};
}
