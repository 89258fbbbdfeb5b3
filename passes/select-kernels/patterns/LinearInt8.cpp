// linear_int8: a product with block-quantised weights on activations quantised to 8 bits: faster, coarser, on
// request.
#include "passes/select-kernels/KernelPattern.h"

using namespace fusebox;

namespace fusebox {
extern const KernelPattern linearPattern;
}

static std::optional<llvm::SmallVector<KernelRequest, 2>> match(mlir::Operation *op,
                                                                const MatchContext &context) {
  auto linear = llvm::cast<layer::LinearOp>(op);
  if (!context.activationsInt8 || !isBlockQuantised(context.weightType(linear.getWeight())))
    return std::nullopt;
  auto requests = linearPattern.match(op, context);
  requests->front().kernel = "linear_int8";
  return requests;
}

namespace fusebox {
extern const KernelPattern linearInt8Pattern = {"linear_int8", "layer.linear", layer::Contract::Fast, match};
}
