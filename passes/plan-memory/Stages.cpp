#include "passes/plan-memory/Stages.h"

#include "llvm/ADT/SmallVector.h"

#include <algorithm>

using namespace mlir;
using namespace fusebox;

namespace {

/// Stages of the operations of one block, from the order they are in.
class BlockStages {
public:
  explicit BlockStages(Block &block) : block(block) {
    for (Operation &op : block.without_terminator())
      stages[&op] = isa<plan::LoopOp>(op) ? stageOfLoop(cast<plan::LoopOp>(op)) : stageOfCall(&op);
  }

  unsigned operator[](Operation *op) const { return stages.lookup(op); }

private:
  Block &block;
  DenseMap<Operation *, unsigned> stages;
  unsigned floor = 0; ///< no call that follows a loop runs before it
  unsigned last = 0;
  /// The stage after the last one that wrote, or read, a cache.
  DenseMap<Attribute, unsigned> written, touched;

  unsigned stageOfCall(Operation *op) {
    unsigned stage = floor;
    for (Value operand : op->getOperands())
      if (Operation *definition = operand.getDefiningOp(); definition && definition->getBlock() == &block)
        stage = std::max(stage, stages.lookup(definition) + 1);
    auto call = dyn_cast<plan::CallOp>(op);
    if (!call)
      return last = std::max(last, stage), stage;
    forEachCache(call, [&](Attribute cache, bool writes) {
      stage = std::max(stage, writes ? touched.lookup(cache) : written.lookup(cache));
    });
    forEachCache(call, [&](Attribute cache, bool writes) {
      touched[cache] = std::max(touched.lookup(cache), stage + 1);
      if (writes)
        written[cache] = stage + 1;
    });
    last = std::max(last, stage);
    return stage;
  }

  unsigned stageOfLoop(plan::LoopOp loop) {
    unsigned stage = last + 1;
    last = stage;
    floor = stage + 1;
    return stage;
  }

  /// Symbols of a call that are written by any call: only caches are.
  template <typename Function> static void forEachCache(plan::CallOp call, Function function) {
    for (auto arg : call.getArgs().getAsRange<plan::ArgAttr>())
      if (arg.getSymbol())
        function(arg.getSymbol(), arg.getAccess() == plan::Access::Out);
  }
};

} // namespace

void fusebox::orderByStage(Block &block) {
  BlockStages stages(block);
  SmallVector<std::pair<unsigned, Operation *>> order;
  for (Operation &op : block.without_terminator())
    order.emplace_back(stages[&op], &op);
  // Within a stage, the order in the block is kept.
  llvm::sort(order, [&](auto &a, auto &b) {
    return a.first != b.first ? a.first < b.first
                              : a.second != b.second && a.second->isBeforeInBlock(b.second);
  });
  for (auto [stage, op] : order) {
    op->moveBefore(block.getTerminator());
    if (auto loop = dyn_cast<plan::LoopOp>(op))
      orderByStage(loop.getBody().front());
  }
}

/// Numbers the operations of `block` from `moment` on; returns the first moment after it.
static unsigned numberBlock(Block &block, unsigned moment, Moments &moments) {
  BlockStages stages(block);
  std::optional<unsigned> stage;
  for (Operation &op : block.without_terminator()) {
    if (stage && *stage != stages[&op])
      ++moment;
    stage = stages[&op];
    moments[&op] = moment;
    if (auto loop = dyn_cast<plan::LoopOp>(op))
      moment = numberBlock(loop.getBody().front(), moment + 1, moments);
  }
  moments[block.getTerminator()] = ++moment;
  return moment;
}

Moments fusebox::momentsOf(plan::GraphOp graph) {
  Moments moments;
  numberBlock(graph.getBody().front(), 0, moments);
  return moments;
}
