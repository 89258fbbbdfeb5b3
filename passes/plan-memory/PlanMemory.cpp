// plan-memory: values become buffers. Calls are ordered by dependence, values that are never needed at once
// share memory, and calls on values become launches on buffers.
#include "passes/Passes.h"
#include "passes/plan-memory/Lifetimes.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

using namespace mlir;
using namespace fusebox;

namespace {

/// Rewrites one program from values to buffers.
class MemoryLowering {
public:
  MemoryLowering(plan::ProgramOp program, plan::GraphOp graph, const Lifetimes &lifetimes)
      : program(program), graph(graph), lifetimes(lifetimes), builder(graph) {}

  void run() {
    createBuffers();
    Block &body = graph.getBody().front();
    auto yield = cast<plan::YieldOp>(body.getTerminator());
    auto schedule = plan::ScheduleOp::create(builder, graph.getLoc(), bufferOf(yield.getValue()));
    lowerBlock(body, schedule.getBody().emplaceBlock());
    graph.erase();
    program.setUnreusedAttr(builder.getDenseI64ArrayAttr(
        SmallVector<int64_t>(std::begin(lifetimes.unreused), std::end(lifetimes.unreused))));
  }

private:
  plan::ProgramOp program;
  plan::GraphOp graph;
  const Lifetimes &lifetimes;
  OpBuilder builder;
  SmallVector<FlatSymbolRefAttr> buffers; ///< by region

  FlatSymbolRefAttr bufferOf(Value value) { return buffers[lifetimes.regionOf.lookup(value)]; }

  void createBuffers() {
    SymbolTable symbols(program);
    for (const MemoryRegion &region : lifetimes.regions) {
      auto buffer =
          plan::BufferOp::create(builder, graph.getLoc(), region.name.empty() ? "value" : region.name,
                                 region.extent, int64_t(region.bytes), int64_t(region.offset), /*device=*/0);
      symbols.insert(buffer); // renames if the name is taken
      buffer->moveBefore(graph);
      buffers.push_back(FlatSymbolRefAttr::get(buffer.getSymNameAttr()));
    }
  }

  void lowerBlock(Block &source, Block &target) {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToEnd(&target);
    for (Operation &op : source) {
      if (auto loop = dyn_cast<plan::LoopOp>(op)) {
        auto lowered = plan::LoopOp::create(builder, op.getLoc(), TypeRange(), loop.getBlock(),
                                            loop.getFirst(), loop.getCount(), Value());
        lowerBlock(loop.getBody().front(), lowered.getBody().emplaceBlock());
      } else if (auto call = dyn_cast<plan::CallOp>(op)) {
        lowerCall(call);
      } else {
        plan::YieldOp::create(builder, op.getLoc(), Value());
      }
    }
  }

  void lowerCall(plan::CallOp call) {
    SmallVector<Attribute> args, values;
    unsigned operand = 0, result = 0;
    for (auto [index, arg] : llvm::enumerate(call.getArgs().getAsRange<plan::ArgAttr>())) {
      if (arg.getSymbol()) {
        args.push_back(arg);
        continue;
      }
      bool out = arg.getAccess() == plan::Access::Out;
      Value value = out ? Value(call.getResult(result)) : call.getInputs()[operand++];
      args.push_back(plan::ArgAttr::get(arg.getContext(), arg.getAccess(), bufferOf(value)));
      if (out)
        addNodeValue(values, cast<StringAttr>(call.getNodes()[result++]).getValue(), int64_t(index), value);
    }
    plan::LaunchOp::create(builder, call.getLoc(), call.getNameAttr(), call.getRowsAttr(), call.getVariants(),
                           builder.getArrayAttr(args), builder.getArrayAttr(values), UnitAttr(),
                           call.getDeviceAttr(), call.getSelectsAttr());
  }

  static void addNodeValue(SmallVectorImpl<Attribute> &values, StringRef node, int64_t arg, Value value) {
    auto type = cast<RankedTensorType>(value.getType());
    Type element = type.getElementType();
    StringRef dtype = element.isBF16() ? "bf16" : element.isF16() ? "f16" : "f32";
    if (!node.empty())
      values.push_back(plan::NodeValueAttr::get(value.getContext(), node, arg, dtype, type.getDimSize(1), 0));
  }
};

struct PlanMemoryPass : PassWrapper<PlanMemoryPass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(PlanMemoryPass)
  StringRef getArgument() const final { return "plan-memory"; }
  StringRef getDescription() const final { return "Give values buffers, reused by liveness"; }

  void runOnOperation() override {
    for (auto program : llvm::make_early_inc_range(getOperation().getOps<plan::ProgramOp>())) {
      auto graphs = program.getBody().getOps<plan::GraphOp>();
      if (graphs.empty())
        return program.emitError("has no graph to plan memory for"), signalPassFailure();
      plan::GraphOp graph = *graphs.begin();
      orderByStage(graph.getBody().front());
      FailureOr<Lifetimes> lifetimes = computeLifetimes(graph);
      if (failed(lifetimes))
        return signalPassFailure();
      placeRegions(lifetimes->regions);
      MemoryLowering(program, graph, *lifetimes).run();
    }
  }
};

} // namespace

std::unique_ptr<Pass> fusebox::createPlanMemoryPass() { return std::make_unique<PlanMemoryPass>(); }
