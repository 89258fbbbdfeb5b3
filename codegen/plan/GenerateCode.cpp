#include "codegen/plan/GenerateCode.h"

#include "codegen/cpu/CpuCodegen.h"
#include "codegen/cuda/CudaCodegen.h"
#include "ir/plan/PlanOps.h"

#include "mlir/IR/AsmState.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/DialectResourceBlobManager.h"

using namespace mlir;
using namespace fusebox;

namespace {

/// The constants of a kernel, in the order of its shape struct.
Result<cpu::Fields> constantsOf(plan::KernelOp kernel) {
  FUSEBOX_ASSIGN(auto types, cpu::kernelFields(kernel.getTemplateName().str()));
  cpu::Fields fields;
  for (const cpu::FieldType &type : types) {
    Attribute value = kernel.getShape().get(type.name);
    if (auto real = dyn_cast_or_null<FloatAttr>(value); real && type.isDouble)
      fields.emplace_back(type.name, real.getValueAsDouble());
    else if (auto integer = dyn_cast_or_null<IntegerAttr>(value); integer && !type.isDouble)
      fields.emplace_back(type.name, integer.getInt());
    else
      return modelError("kernel @" + kernel.getSymName().str() + " needs a constant '" + type.name + "'" +
                        (type.isDouble ? ", a real number" : ", an integer"));
  }
  return fields;
}

/// Bytes as a dense resource: hexadecimal in the text, no attribute storage.
ElementsAttr resource(MLIRContext *context, StringRef name, ArrayRef<std::byte> bytes) {
  auto type = RankedTensorType::get({int64_t(bytes.size())}, IntegerType::get(context, 8));
  ArrayRef<char> data(reinterpret_cast<const char *>(bytes.data()), bytes.size());
  return DenseResourceElementsAttr::get(type, name, HeapAsmResourceBlob::allocateAndCopyWithAlign(data, 64));
}

struct GenerateCodePass : PassWrapper<GenerateCodePass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(GenerateCodePass)
  StringRef getArgument() const final { return "codegen"; }
  StringRef getDescription() const final { return "Compile kernels to machine code"; }

  void runOnOperation() override {
    for (auto program : getOperation().getOps<plan::ProgramOp>())
      for (auto target : llvm::make_early_inc_range(program.getBody().getOps<plan::TargetOp>()))
        if (failed(target.getKind() == plan::DeviceKind::Cpu ? compileCpu(program, target)
                                                             : generateCudaCode(program, target)))
          return signalPassFailure();
  }

  LogicalResult compileCpu(plan::ProgramOp program, plan::TargetOp target) {
    SmallVector<plan::KernelOp> kernels;
    std::vector<cpu::KernelRequest> requests;
    for (auto kernel : program.getBody().getOps<plan::KernelOp>()) {
      if (kernel.getTarget() != target.getSymName())
        continue;
      auto constants = constantsOf(kernel);
      if (!constants)
        return kernel.emitError(constants.error().message);
      kernels.push_back(kernel);
      requests.push_back({kernel.getSymName().str(), kernel.getTemplateName().str(), *constants});
    }
    auto compiled = cpu::compileCpuKernels(requests, {target.getMachine().str(), target.getFeatures().str()});
    if (!compiled)
      return target.emitError(compiled.error().message);
    for (auto [kernel, code] : llvm::zip_equal(kernels, compiled->kernels))
      kernel.setEntry(code.entry);
    // A second run replaces the first one's code.
    for (auto image : llvm::make_early_inc_range(program.getBody().getOps<plan::ImageOp>()))
      if (image.getTarget() == target.getSymName())
        image.erase();
    OpBuilder builder = OpBuilder::atBlockEnd(&program.getBody().front());
    plan::ImageOp::create(builder, target.getLoc(), target.getSymName(), compiled->image.codeBytes,
                          resource(&getContext(), "image", compiled->image.bytes));
    return success();
  }
};

} // namespace

std::unique_ptr<Pass> fusebox::createGenerateCodePass() { return std::make_unique<GenerateCodePass>(); }
