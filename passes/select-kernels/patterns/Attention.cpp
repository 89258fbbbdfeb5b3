// attention: kv_write appends keys and values to the layer's cache; attention reads the cache alone.
#include "kernels/cpu/KernelAbi.h"
#include "passes/select-kernels/KernelPattern.h"

using namespace fusebox;

static std::optional<llvm::SmallVector<KernelRequest, 2>> match(mlir::Operation *op, const MatchContext &) {
  auto attention = llvm::cast<layer::AttentionOp>(op);
  int64_t heads = attention.getHeads(), kvHeads = attention.getKvHeads();
  int64_t headDim = layer::columns(attention.getQ()) / heads, type = typeNumber(attention.getResult());
  int64_t pageBytes = 2 * kvPageTokens * kvHeads * headDim * blockSize(DType(type)).bytes;
  KernelShape writeShape = {{"kvHeads", kvHeads}, {"headDim", headDim}, {"type", type}};
  KernelShape shape = {{"heads", heads},
                       {"kvHeads", kvHeads},
                       {"headDim", headDim},
                       {"type", type},
                       {"scale", attention.getScale().convertToDouble()},
                       {"window", int64_t(attention.getWindow().value_or(0))},
                       {"softcap", attention.getSoftcap() ? attention.getSoftcap()->convertToDouble() : 0.0},
                       {"rounding", int64_t(attention.getRounding() == layer::AttentionRounding::Eager)}};
  return {{{"kv_write",
            writeShape,
            {KernelArg::writeKv(pageBytes), KernelArg::operand(attention.getK()),
             KernelArg::operand(attention.getV())}},
           {"attention",
            shape,
            {KernelArg::result(attention.getResult()), KernelArg::operand(attention.getQ()),
             KernelArg::readKv(pageBytes)}}}};
}

namespace fusebox {
extern const KernelPattern attentionPattern = {"attention", "layer.attention", layer::Contract::Exact, match};
}
