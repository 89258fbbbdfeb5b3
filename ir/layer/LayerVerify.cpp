// What makes a layer model well-formed: shapes that fit, parameters that exist, regions that return what they
// promise.
#include "ir/layer/LayerOps.h"

#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace fusebox::layer;

//===-- Structure ------------------------------------------------------------------------------===//

LogicalResult ModelOp::verifyRegions() {
  int graphs = 0;
  for (Operation &op : getBody().front()) {
    if (!isa<ParamOp, GraphOp>(op))
      return op.emitOpError("does not belong in a model: expected layer.param or layer.graph");
    graphs += isa<GraphOp>(op);
  }
  if (graphs != 1)
    return emitOpError("has ") << graphs << " graphs, expected one";
  return success();
}

LogicalResult ParamOp::verify() {
  auto type = cast<RankedTensorType>(getType());
  Type element = type.getElementType();
  if (!type.hasStaticShape() || type.getRank() < 1 || type.getRank() > 2)
    return emitOpError("has type ") << type << ", expected a vector or matrix of known shape";
  if (!element.isBF16() && !element.isF16() && !element.isF32() && !element.isF64() &&
      !isa<BlockType>(element))
    return emitOpError("has elements of type ")
           << element << ", expected bf16, f16, f32, f64 or !layer.block";
  bool numbered = getTensor().contains("{}");
  if (numbered != getLayers().has_value())
    return emitOpError("names tensor '") << getTensor() << "': `{}` and `layers` go together";
  if (getLayers() && *getLayers() < 1)
    return emitOpError("stands for ") << *getLayers() << " layers, expected at least one";
  size_t tensors = getLayers().value_or(1);
  if (getSources() && getSources()->size() != tensors)
    return emitOpError("has ") << getSources()->size() << " sources, expected " << tensors << ", one a layer";
  return success();
}

/// The return of a region gives `expected` types.
static LogicalResult verifyReturn(Operation *op, Block &body, TypeRange expected) {
  auto result = dyn_cast<ReturnOp>(body.getTerminator());
  if (!result)
    return op->emitOpError("must end in layer.return");
  if (result.getValues().getTypes() != expected)
    return result.emitOpError("gives (")
           << result.getValues().getTypes() << "), but the enclosing region promises (" << expected << ")";
  return success();
}

/// Values of one block bear different names: activations and verdicts are found by them.
static LogicalResult verifyNodeNames(Operation *region) {
  llvm::StringSet<> seen;
  WalkResult result = region->walk<WalkOrder::PreOrder>([&](Operation *op) {
    if (op != region && isa<RepeatOp>(op))
      return WalkResult::skip();
    StringRef name = nodeName(op);
    if (name.empty() || seen.insert(name).second)
      return WalkResult::advance();
    op->emitOpError("is a second node named '") << name << "' in one block";
    return WalkResult::interrupt();
  });
  return failure(result.wasInterrupted());
}

LogicalResult GraphOp::verifyRegions() {
  Block &body = getBody().front();
  auto index = RankedTensorType::get({ShapedType::kDynamic}, IntegerType::get(getContext(), 32));
  if (body.getArgumentTypes() != TypeRange{index, index, index})
    return emitOpError("takes (") << body.getArgumentTypes()
                                  << "), expected tokens, positions and logits_rows, each " << index;
  auto result = dyn_cast<ReturnOp>(body.getTerminator());
  if (!result || result.getValues().size() != 1)
    return emitOpError("must end in layer.return of the logits");
  auto logits = dyn_cast<RankedTensorType>(result.getValues()[0].getType());
  if (!logits || logits.getRank() != 2 || !logits.getElementType().isF32())
    return result.emitOpError("gives ")
           << result.getValues()[0].getType() << ", expected the logits as tensor<?xVxf32>";
  return verifyNodeNames(*this);
}

LogicalResult RepeatOp::verify() {
  if (int64_t(getFirst()) < 0 || int64_t(getCount()) < 1)
    return emitOpError("runs layers ")
           << int64_t(getFirst()) << " to " << int64_t(getFirst() + getCount()) - 1
           << ", expected at least one, from 0 up";
  return success();
}

LogicalResult RepeatOp::verifyRegions() {
  Block &body = getBody().front();
  if (body.getArgumentTypes() != getOperation()->getOperandTypes())
    return emitOpError("has a body that takes (")
           << body.getArgumentTypes() << "), expected " << getInitial().getType();
  if (failed(verifyReturn(*this, body, getOperation()->getResultTypes())))
    return failure();
  return verifyNodeNames(*this);
}

LogicalResult FusedOp::verifyRegions() {
  Block &body = getBody().front();
  if (body.getArgumentTypes() != TypeRange(getInputs()))
    return emitOpError("has a body that takes (")
           << body.getArgumentTypes() << "), but inputs of (" << getInputs().getTypes() << ")";
  for (Operation &op : body)
    for (Value operand : op.getOperands())
      if (operand.getParentBlock() != &body)
        return op.emitOpError("reads a value from outside its fused region: pass it as an input");
  return verifyReturn(*this, body, getResultTypes());
}

//===-- Parameters -----------------------------------------------------------------------------===//

/// `symbol` names a parameter of `shape` that has a tensor for every layer in which `op` runs.
static LogicalResult verifyParam(Operation *op, SymbolTableCollection &symbols, FlatSymbolRefAttr symbol,
                                 ArrayRef<int64_t> shape) {
  auto param = symbols.lookupNearestSymbolFrom<ParamOp>(op, symbol);
  if (!param)
    return op->emitOpError("uses ") << symbol << ", which is no layer.param of the model";
  auto type = cast<RankedTensorType>(param.getType());
  if (type.getShape() != shape) {
    InFlightDiagnostic diagnostic = op->emitOpError("needs ") << symbol << " of shape [";
    llvm::interleaveComma(shape, diagnostic);
    diagnostic << "], but it is " << type;
    diagnostic.attachNote(param.getLoc()) << "declared here";
    return diagnostic;
  }
  if (!param.getLayers())
    return success();
  RepeatOp repeat = enclosingRepeat(op);
  if (!repeat)
    return op->emitOpError("uses ") << symbol << ", a parameter of each layer, outside of a layer.repeat";
  int64_t end = repeat.getFirst() + repeat.getCount();
  if (end > int64_t(*param.getLayers()))
    return op->emitOpError("runs in layer ")
           << end - 1 << ", but " << symbol << " has only " << *param.getLayers() << " layers";
  return success();
}

LogicalResult EmbedOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto table = symbols.lookupNearestSymbolFrom<ParamOp>(*this, getTableAttr());
  auto type = table ? cast<RankedTensorType>(table.getType()) : RankedTensorType();
  int64_t rows = type && type.getRank() == 2 ? type.getDimSize(0) : 0;
  return verifyParam(*this, symbols, getTableAttr(), {rows, columns(getResult())});
}

LogicalResult NormOp::verifySymbolUses(SymbolTableCollection &symbols) {
  int64_t groups = getGroups(), width = columns(getInput());
  if (groups < 1 || width % groups)
    return emitOpError("can't split ") << width << " columns into " << groups << " equal groups";
  return verifyParam(*this, symbols, getGainAttr(), {width / groups});
}

LogicalResult LinearOp::verifySymbolUses(SymbolTableCollection &symbols) {
  int64_t in = columns(getInput()), out = columns(getResult());
  if (failed(verifyParam(*this, symbols, getWeightAttr(), {out, in})))
    return failure();
  return getBiasAttr() ? verifyParam(*this, symbols, getBiasAttr(), {out}) : success();
}

//===-- Heads ----------------------------------------------------------------------------------===//

LogicalResult RopeAnglesOp::verify() {
  int64_t frequencies = getInvFreq().size(), width = columns(getResult());
  if (frequencies == 0 || width != 2 * frequencies)
    return emitOpError("has ") << frequencies << " frequencies, so cos and sin take " << 2 * frequencies
                               << " columns, not " << width;
  return success();
}

LogicalResult RopeOp::verify() {
  int64_t heads = getHeads(), width = columns(getInput()), turned = columns(getAngles());
  if (heads < 1 || width % heads)
    return emitOpError("can't split ") << width << " columns into " << heads << " heads";
  if (turned % 2 || turned > width / heads)
    return emitOpError("turns ") << turned << " values of a head, but a head has " << width / heads;
  return success();
}

LogicalResult AttentionOp::verify() {
  int64_t heads = getHeads(), kvHeads = getKvHeads();
  if (kvHeads < 1 || heads < 1 || heads % kvHeads)
    return emitOpError("has ") << heads << " heads, which " << kvHeads << " key heads can't share equally";
  if (columns(getQ()) % heads || columns(getK()) % kvHeads || columns(getV()) % kvHeads)
    return emitOpError("can't split q, k, v of ")
           << columns(getQ()) << ", " << columns(getK()) << ", " << columns(getV()) << " columns into heads";
  int64_t head = columns(getQ()) / heads, keyHead = columns(getK()) / kvHeads;
  if (head != keyHead)
    return emitOpError("has heads of ") << head << " in q, but of " << keyHead << " in k";
  if (columns(getResult()) != heads * (columns(getV()) / kvHeads))
    return emitOpError("gives ") << columns(getResult()) << " columns, expected "
                                 << heads * (columns(getV()) / kvHeads) << ", heads times the head size of v";
  if (getWindow() && int64_t(*getWindow()) < 1)
    return emitOpError("has a window of ") << int64_t(*getWindow()) << " positions, expected at least one";
  return success();
}
