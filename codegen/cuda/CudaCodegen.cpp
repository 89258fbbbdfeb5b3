#include "codegen/cuda/CudaCodegen.h"

#include "codegen/cuda/EmitPointwise.h"
#include "kernels/cuda/KernelSource.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/AsmState.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectResourceBlobManager.h"

#include <thread>

using namespace mlir;
using namespace fusebox;

/// The instance that a kernel of the plan is, with its parts. Fails with a diagnostic if a body can't be
/// emitted.
static FailureOr<cuda::KernelRequest> requestOf(plan::KernelOp kernel) {
  cuda::KernelRequest request = {kernel.getTemplateName().str(), {}};
  if (auto body = kernel.getPointwiseAttr()) {
    auto text = emitPointwise(SymbolTable::lookupNearestSymbolFrom<plan::PointwiseOp>(kernel, body));
    if (failed(text))
      return failure();
    request.body = *text;
  }
  for (NamedAttribute dimension : kernel.getShape()) {
    double value = 0;
    if (auto real = dyn_cast<FloatAttr>(dimension.getValue()))
      value = real.getValueAsDouble();
    else
      value = double(cast<IntegerAttr>(dimension.getValue()).getInt());
    request.shape[dimension.getName().str()] = value;
  }
  if (auto parts = kernel.getPartsAttr())
    for (auto name : parts.getAsRange<FlatSymbolRefAttr>()) {
      auto part = requestOf(SymbolTable::lookupNearestSymbolFrom<plan::KernelOp>(kernel, name));
      if (failed(part))
        return failure();
      request.parts.push_back(std::move(*part));
    }
  return request;
}

/// The type that a body rounds its only input to; none if it does more.
static std::optional<DType> roundingOf(plan::PointwiseOp body) {
  Block &block = body.getBody().front();
  if (block.getNumArguments() != 1)
    return std::nullopt;
  Value yielded = body.getYielded();
  if (yielded == block.getArgument(0))
    return DType::F32;
  auto rounded = yielded.getDefiningOp<arith::TruncFOp>();
  bool only = rounded && rounded.getIn() == block.getArgument(0) && rounded.getType().isBF16();
  return only ? std::optional(DType::BF16) : std::nullopt;
}

plan::Product fusebox::productOf(plan::KernelOp kernel) {
  const cuda::KernelEntry *entry = cuda::findKernel(kernel.getTemplateName().str());
  auto body = kernel.getPointwiseAttr();
  if (!entry || !entry->isProduct || !body)
    return {};
  auto number = [&](StringRef name) { return kernel.getShape().getAs<IntegerAttr>(name).getInt(); };
  auto type = roundingOf(SymbolTable::lookupNearestSymbolFrom<plan::PointwiseOp>(kernel, body));
  bool hasBias = number("hasBias") != 0;
  if (!type || (hasBias && DType(number("biasType")) != DType::BF16))
    return {};
  return {uint32_t(number("in")), uint32_t(number("out")), *type, hasBias};
}

/// Bytes as a dense resource: hexadecimal in the text, no attribute storage.
static ElementsAttr resource(MLIRContext *context, StringRef name, ArrayRef<std::byte> bytes) {
  auto type = RankedTensorType::get({int64_t(bytes.size())}, IntegerType::get(context, 8));
  ArrayRef<char> data(reinterpret_cast<const char *>(bytes.data()), bytes.size());
  return DenseResourceElementsAttr::get(type, name, HeapAsmResourceBlob::allocateAndCopyWithAlign(data, 64));
}

LogicalResult fusebox::cudaSources(plan::ProgramOp program, plan::TargetOp target,
                                   SmallVectorImpl<plan::KernelOp> &kernels,
                                   std::vector<cuda::KernelText> &texts) {
  for (auto kernel : program.getBody().getOps<plan::KernelOp>()) {
    if (kernel.getTarget() != target.getSymName())
      continue;
    FailureOr<cuda::KernelRequest> request = requestOf(kernel);
    if (failed(request))
      return failure();
    auto source = cuda::kernelSource(*request);
    if (!source)
      return kernel.emitError(source.error().message);
    kernels.push_back(kernel);
    texts.push_back({cuda::kernelName(*request), std::move(*source)});
  }
  return success();
}

LogicalResult fusebox::generateCudaCode(plan::ProgramOp program, plan::TargetOp target) {
  SmallVector<plan::KernelOp> kernels;
  std::vector<cuda::KernelText> texts;
  if (failed(cudaSources(program, target, kernels, texts)))
    return failure();
  auto cubins = cuda::compileCubins(texts, target.getMachine().str(), std::thread::hardware_concurrency());
  if (!cubins)
    return target.emitError(cubins.error().message);
  // A second run replaces the first one's code.
  for (auto module : llvm::make_early_inc_range(program.getBody().getOps<plan::GpuModuleOp>()))
    if (module.getTarget() == target.getSymName())
      module.erase();
  OpBuilder builder(target->getContext());
  builder.setInsertionPointAfter(target);
  for (size_t i = 0; i < kernels.size(); ++i) {
    const std::string &name = texts[i].name;
    plan::GpuModuleOp::create(builder, kernels[i].getLoc(), name, target.getSymName(), texts[i].source,
                              resource(target->getContext(), name, (*cubins)[i]));
    kernels[i].setModule(name);
  }
  return success();
}
