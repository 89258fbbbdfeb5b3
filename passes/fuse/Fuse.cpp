// fuse: forms layer.fused regions. Under the policy `none`, the only one there is so far, it leaves the IR as
// it is.
#include "passes/Passes.h"

#include "ir/layer/LayerOps.h"

#include "mlir/IR/BuiltinOps.h"

using namespace mlir;
using namespace fusebox;

namespace {

struct FusePass : PassWrapper<FusePass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(FusePass)
  FusePass() = default;
  FusePass(const FusePass &other) : PassWrapper(other) {}
  StringRef getArgument() const final { return "fuse"; }
  StringRef getDescription() const final { return "Form fused regions where verdicts allow it"; }

  Option<std::string> policy{*this, "fusion", llvm::cl::desc("Which fusions: none"), llvm::cl::init("none")};

  void runOnOperation() override {
    if (policy != "none")
      getOperation().emitError("no fusion policy is named '") << policy.getValue() << "'; use none",
          signalPassFailure();
  }
};

} // namespace

std::unique_ptr<Pass> fusebox::createFusePass() { return std::make_unique<FusePass>(); }
