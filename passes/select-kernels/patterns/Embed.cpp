// embed: rows of a table, one a token.
#include "passes/select-kernels/KernelPattern.h"

using namespace fusebox;

static std::optional<llvm::SmallVector<KernelRequest, 2>> match(mlir::Operation *op,
                                                                const MatchContext &context) {
  auto embed = llvm::cast<layer::EmbedOp>(op);
  KernelShape shape = {{"columns", layer::columns(embed.getResult())},
                       {"tableType", int64_t(context.weightType(embed.getTable()))},
                       {"outType", typeNumber(embed.getResult())},
                       {"scale", 1.0}};
  return {{{"embed", shape, {KernelArg::result(embed.getResult()), KernelArg::weight(embed.getTable())}}}};
}

namespace fusebox {
extern const KernelPattern embedPattern = {"embed", "layer.embed", layer::Contract::Exact, match};
}
