// fuse: forms layer.fused regions. A region is formed only if the registry has a fused kernel for it; so far
// all its kernels compute one operation each, and every policy leaves the IR as it is.
#include "passes/Passes.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace fusebox;

namespace {

constexpr StringLiteral policies[] = {"certified", "score", "none", "force"};

struct FusePass : PassWrapper<FusePass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(FusePass)
  explicit FusePass(const std::string &wanted) { policy = wanted; }
  FusePass(const FusePass &other) : PassWrapper(other) {}
  StringRef getArgument() const final { return "fuse"; }
  StringRef getDescription() const final { return "Form fused regions where verdicts allow it"; }

  Option<std::string> policy{*this, "fusion",
                             llvm::cl::desc("Which fusions: certified, score, none or force"),
                             llvm::cl::init("none")};

  void runOnOperation() override {
    if (!llvm::is_contained(policies, policy)) {
      getOperation().emitError("no fusion policy is named '")
          << policy.getValue() << "': expected certified, score, none or force";
      signalPassFailure();
    }
  }
};

} // namespace

std::unique_ptr<Pass> fusebox::createFusePass(const std::string &policy) {
  return std::make_unique<FusePass>(policy);
}
