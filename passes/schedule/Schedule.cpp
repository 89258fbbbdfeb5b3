// schedule: says where a launch waits for earlier ones. Launches between two barriers touch different memory,
// or only read the same, and run together.
#include "passes/Passes.h"

#include "ir/plan/PlanOps.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"
#include "llvm/ADT/SmallVector.h"

using namespace mlir;
using namespace fusebox;

namespace {

/// Memory that an argument stands for: a part of an extent's arena, or a whole KV cache.
struct Touched {
  Attribute cache; ///< KV cache
  plan::RowExtent extent = plan::RowExtent::Fixed;
  uint64_t begin = 0, end = 0;
  bool written = false;

  bool conflicts(const Touched &other) const {
    if (!written && !other.written)
      return false;
    if (cache || other.cache)
      return cache == other.cache;
    return extent == other.extent && begin < other.end && other.begin < end;
  }
};

class BarrierPlacement {
public:
  explicit BarrierPlacement(plan::ProgramOp program) : symbols(program) {}

  void run(Block &block) {
    for (Operation &op : block) {
      if (auto loop = dyn_cast<plan::LoopOp>(op)) {
        startsAfresh = true;
        run(loop.getBody().front());
        startsAfresh = true;
      } else if (auto launch = dyn_cast<plan::LaunchOp>(op)) {
        place(launch);
      }
    }
  }

private:
  mlir::SymbolTable symbols;
  SmallVector<Touched> running; ///< since the last barrier
  bool startsAfresh = true;

  void place(plan::LaunchOp launch) {
    SmallVector<Touched> mine = touchedBy(launch);
    bool conflict = llvm::any_of(mine, [&](const Touched &a) {
      return llvm::any_of(running, [&](const Touched &b) { return a.conflicts(b); });
    });
    bool barrier = startsAfresh || conflict;
    if (barrier)
      running.clear();
    running.append(mine);
    launch.setBarrier(barrier);
    startsAfresh = false;
  }

  SmallVector<Touched> touchedBy(plan::LaunchOp launch) {
    SmallVector<Touched> touched;
    for (auto arg : launch.getArgs().getAsRange<plan::ArgAttr>()) {
      bool written = arg.getAccess() == plan::Access::Out;
      Operation *record = symbols.lookup(arg.getSymbol().getAttr());
      if (auto buffer = dyn_cast<plan::BufferOp>(record))
        touched.push_back(
            {{}, buffer.getExtent(), buffer.getOffset(), buffer.getOffset() + buffer.getBytes(), written});
      else if (isa<plan::KvCacheOp>(record))
        touched.push_back({arg.getSymbol(), {}, 0, 0, written});
    }
    return touched;
  }
};

struct SchedulePass : PassWrapper<SchedulePass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(SchedulePass)
  StringRef getArgument() const final { return "schedule"; }
  StringRef getDescription() const final {
    return "Place barriers between launches that depend on each other";
  }

  void runOnOperation() override {
    for (auto program : getOperation().getOps<plan::ProgramOp>()) {
      auto schedules = program.getBody().getOps<plan::ScheduleOp>();
      if (schedules.empty())
        return program.emitError("has no launches to schedule; plan-memory makes them"), signalPassFailure();
      BarrierPlacement(program).run((*schedules.begin()).getBody().front());
    }
  }
};

} // namespace

std::unique_ptr<Pass> fusebox::createSchedulePass() { return std::make_unique<SchedulePass>(); }
