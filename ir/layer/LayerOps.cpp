#include "ir/layer/LayerOps.h"

using namespace mlir;
using namespace fusebox::layer;

GraphOp ModelOp::getGraph() {
  for (Operation &op : getBody().front())
    if (auto graph = dyn_cast<GraphOp>(op))
      return graph;
  return {};
}

StringRef fusebox::layer::nodeName(Operation *op) {
  // Only node operations have the attribute; all keep it under one name.
  auto name = op->getInherentAttr("node");
  auto text = name ? dyn_cast_or_null<StringAttr>(*name) : StringAttr();
  return text ? text.getValue() : StringRef();
}

ParamOp fusebox::layer::lookupParam(Operation *op, StringRef symbol) {
  auto model = op->getParentOfType<ModelOp>();
  return model ? dyn_cast_or_null<ParamOp>(SymbolTable::lookupSymbolIn(model, symbol)) : ParamOp();
}

RepeatOp fusebox::layer::enclosingRepeat(Operation *op) { return op->getParentOfType<RepeatOp>(); }
