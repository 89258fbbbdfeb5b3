// select-kernels: layer IR becomes calls of kernels from the registry, once for each target.
#include "passes/Passes.h"
#include "passes/select-kernels/Selector.h"

#include "mlir/IR/BuiltinOps.h"

using namespace mlir;
using namespace fusebox;

/// Records in groups, by kind, before the graph: selection makes them as it needs them.
static void sortRecords(plan::ProgramOp program) {
  Block &body = program.getBody().front();
  SmallVector<std::pair<unsigned, Operation *>> order;
  for (auto [index, op] : llvm::enumerate(body)) {
    unsigned kind = isa<plan::TargetOp>(op)      ? 0
                    : isa<plan::FileOp>(op)      ? 1
                    : isa<plan::WeightOp>(op)    ? 2
                    : isa<plan::ConstantOp>(op)  ? 3
                    : isa<plan::KvCacheOp>(op)   ? 4
                    : isa<plan::PointwiseOp>(op) ? 5
                    : isa<plan::KernelOp>(op)    ? 6
                                                 : 7;
    order.emplace_back((kind << 24) + unsigned(index), &op);
  }
  llvm::sort(order);
  for (auto [key, op] : order)
    op->moveBefore(&body, body.end());
}

namespace {

struct SelectKernelsPass : PassWrapper<SelectKernelsPass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(SelectKernelsPass)
  SelectKernelsPass() = default;
  explicit SelectKernelsPass(std::vector<TargetSpec> targets) : given(std::move(targets)) {}
  SelectKernelsPass(const SelectKernelsPass &other) : PassWrapper(other), given(other.given) {}
  StringRef getArgument() const final { return "select-kernels"; }
  StringRef getDescription() const final { return "Choose a kernel for each operation, by target"; }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<plan::PlanDialect>();
  }

  ListOption<std::string> names{*this, "targets",
                                llvm::cl::desc("Targets, e.g. cpu:x86-64-v3 or cuda:sm_90a")};

  Option<bool> activationsInt8{*this, "activations-int8", llvm::cl::desc("Allow 8-bit activations")};

  void runOnOperation() override {
    std::vector<TargetSpec> targets = given;
    for (const std::string &name : names) {
      auto target = TargetSpec::parse(name);
      if (!target)
        return getOperation().emitError(target.error().message), signalPassFailure();
      target->activationsInt8 = activationsInt8;
      targets.push_back(*target);
    }
    for (auto model : llvm::make_early_inc_range(getOperation().getOps<layer::ModelOp>())) {
      for (const TargetSpec &target : targets) {
        FailureOr<plan::ProgramOp> program = Selector(model, target, *targetKernels(target)).run();
        if (failed(program))
          return signalPassFailure();
        sortRecords(*program);
      }
      model.erase();
    }
  }

private:
  std::vector<TargetSpec> given;
};

} // namespace

std::unique_ptr<Pass> fusebox::createSelectKernelsPass(std::vector<TargetSpec> targets) {
  return std::make_unique<SelectKernelsPass>(std::move(targets));
}
