#include "passes/plan-memory/Lifetimes.h"

#include "mlir/IR/BuiltinTypes.h"

#include <algorithm>
#include <numeric>

using namespace mlir;
using namespace fusebox;

bool MemoryRegion::conflicts(const MemoryRegion &other) const {
  if (extent != other.extent)
    return false;
  return llvm::any_of(live, [&](Interval mine) {
    return llvm::any_of(other.live, [&](Interval theirs) { return mine.overlaps(theirs); });
  });
}

namespace {

class LifetimeAnalysis {
public:
  explicit LifetimeAnalysis(plan::GraphOp graph) : graph(graph), moments(momentsOf(graph)) {}

  FailureOr<Lifetimes> run() {
    // Calls before loops are seen before them, so a loop's argument is known when its body is walked.
    WalkResult walked = graph.walk<WalkOrder::PreOrder>([&](Operation *op) {
      if (auto call = dyn_cast<plan::CallOp>(op))
        addResults(call);
      else if (auto loop = dyn_cast<plan::LoopOp>(op))
        return enterLoop(loop);
      return WalkResult::advance();
    });
    if (walked.wasInterrupted())
      return failure();
    return std::move(result);
  }

private:
  plan::GraphOp graph;
  Moments moments;
  Lifetimes result;
  /// Of a region that a loop carries its argument in: the value yielded into it.
  DenseMap<unsigned, OpResult> carriedIn;

  /// The last moment at which `value` is read, or its definition's. A reader inside a loop that the value is
  /// not defined in keeps it for the whole loop.
  unsigned lastUse(Value value, unsigned defined) {
    unsigned last = defined;
    for (Operation *user : value.getUsers()) {
      Operation *at = user;
      while (at->getBlock() != value.getParentBlock())
        at = at->getParentOp();
      if (at != user)
        at = cast<plan::LoopOp>(at).getBody().front().getTerminator();
      last = std::max(last, moments.lookup(at));
    }
    return last;
  }

  void assign(Value value, unsigned region, Interval live) {
    result.regionOf[value] = region;
    result.regions[region].live.push_back(live);
  }

  static uint64_t bytesOf(Value value) {
    auto type = cast<RankedTensorType>(value.getType());
    return uint64_t(type.getDimSize(1)) * type.getElementTypeBitWidth() / 8;
  }

  void addResults(plan::CallOp call) {
    unsigned moment = moments.lookup(call);
    for (OpResult value : call.getResults()) {
      result.unreused[unsigned(call.getRows())] += alignedBytes(bytesOf(value));
      Interval live = {moment, lastUse(value, moment)};
      if (std::optional<unsigned> shared = reusable(call, value);
          shared && !result.regionOf.contains(value)) {
        assign(value, *shared, live);
        continue;
      }
      std::string name = cast<StringAttr>(call.getNodes()[value.getResultNumber()]).str();
      if (auto loop = call->getParentOfType<plan::LoopOp>())
        name = (loop.getBlock() + "." + name).str();
      result.regions.push_back({call.getRows(), alignedBytes(bytesOf(value)), name, {}, 0});
      assign(value, unsigned(result.regions.size() - 1), live);
    }
  }

  /// Whether result `index` of `call` may overwrite `operand`: the call allows it, and everyone else has read
  /// it.
  bool diesInto(Value operand, plan::CallOp call, unsigned index) {
    unsigned moment = moments.lookup(call);
    ArrayRef<int64_t> pairs = call.getInPlace();
    bool allowed = false;
    for (unsigned i = 0; i < pairs.size(); i += 2)
      allowed |= pairs[i] == index && call.getInputs()[pairs[i + 1]] == operand;
    return allowed && operand.getParentBlock() == call->getBlock() && lastUse(operand, 0) == moment &&
           llvm::all_of(operand.getUsers(),
                        [&](Operation *user) { return user == call || moments.lookup(user) < moment; });
  }

  /// The region that `value` shares with an operand, or with its loop's argument.
  std::optional<unsigned> reusable(plan::CallOp call, OpResult value) {
    if (auto loop = dyn_cast<plan::LoopOp>(call->getParentOp()))
      if (cast<plan::YieldOp>(loop.getBody().front().getTerminator()).getValue() == value)
        return result.regionOf.lookup(loop.getBody().getArgument(0));
    for (Value operand : call.getInputs()) {
      if (!diesInto(operand, call, value.getResultNumber()))
        continue;
      unsigned region = result.regionOf.lookup(operand);
      if (result.regions[region].bytes == alignedBytes(bytesOf(value)) &&
          result.regions[region].extent == call.getRows() && deadWhenCarried(value, region))
        return region;
    }
    return std::nullopt;
  }

  /// Whether `value`, put into `region`, is dead when the loop's next argument is written there.
  bool deadWhenCarried(OpResult value, unsigned region) {
    OpResult carried = carriedIn.lookup(region);
    auto writer = carried ? dyn_cast<plan::CallOp>(carried.getOwner()) : plan::CallOp();
    if (!writer || writer->getBlock() != value.getParentBlock())
      return true;
    return lastUse(value, 0) < moments.lookup(writer) || diesInto(value, writer, carried.getResultNumber());
  }

  WalkResult enterLoop(plan::LoopOp loop) {
    Block &body = loop.getBody().front();
    auto yield = cast<plan::YieldOp>(body.getTerminator());
    BlockArgument argument = body.getArgument(0);
    unsigned begin = moments.lookup(loop), end = moments.lookup(yield);
    unsigned region = result.regionOf.lookup(loop.getInitial());
    if (failed(checkCarried(loop, yield)))
      return WalkResult::interrupt();
    carriedIn[region] = cast<OpResult>(yield.getValue());
    assign(argument, region, {begin, lastUse(argument, begin)});
    assign(loop.getResult(), region, {end, lastUse(loop.getResult(), end)});
    return WalkResult::advance();
  }

  /// Argument and yielded value share memory, so one must be dead when the other is written.
  LogicalResult checkCarried(plan::LoopOp loop, plan::YieldOp yield) {
    unsigned begin = moments.lookup(loop);
    BlockArgument argument = loop.getBody().getArgument(0);
    auto call = yield.getValue().getDefiningOp<plan::CallOp>();
    if (!call || call->getBlock() != &loop.getBody().front())
      return loop.emitOpError("must yield a value that its body computes");
    if (lastUse(loop.getInitial(), 0) > begin)
      return loop.emitOpError("overwrites its initial value, which is read after it: scale it by 1 first");
    auto carried = cast<OpResult>(yield.getValue());
    if (lastUse(argument, begin) >= moments.lookup(call) &&
        !diesInto(argument, call, carried.getResultNumber()))
      return call.emitOpError(
          "writes the loop's result while its argument is still read: add a scale by 1 after it");
    return success();
  }
};

} // namespace

FailureOr<Lifetimes> fusebox::computeLifetimes(plan::GraphOp graph) { return LifetimeAnalysis(graph).run(); }

void fusebox::placeRegions(std::vector<MemoryRegion> &regions) {
  std::vector<unsigned> order(regions.size());
  std::iota(order.begin(), order.end(), 0);
  llvm::sort(order, [&](unsigned a, unsigned b) {
    return regions[a].bytes != regions[b].bytes ? regions[a].bytes > regions[b].bytes : a < b;
  });
  std::vector<unsigned> placed;
  for (unsigned index : order) {
    MemoryRegion &region = regions[index];
    SmallVector<std::pair<uint64_t, uint64_t>> taken;
    for (unsigned other : placed)
      if (region.conflicts(regions[other]))
        taken.emplace_back(regions[other].offset, regions[other].offset + regions[other].bytes);
    llvm::sort(taken);
    for (auto [begin, end] : taken) {
      if (region.offset + region.bytes <= begin)
        break;
      region.offset = std::max(region.offset, end);
    }
    placed.push_back(index);
  }
}
