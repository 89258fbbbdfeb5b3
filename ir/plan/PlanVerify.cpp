// What a well-formed plan is, beyond what each operation's declaration says.
#include "ir/plan/PlanOps.h"

#include "support/DType.h"

using namespace mlir;
using namespace fusebox;
using namespace fusebox::plan;

//===-- Records
//-----------------------------------------------------------------------------------------------===//

LogicalResult WeightOp::verify() {
  auto type = dtypeFromName(std::string_view(getDtype()));
  if (!type)
    return emitOpError("has an unknown element type '") << getDtype() << "'";
  if (getSources().empty())
    return emitOpError("needs at least one instance");
  if (!getFirstLayer() && getSources().size() != 1)
    return emitOpError("has ") << getSources().size() << " instances but no first layer";
  for (Attribute instance : getSources()) {
    auto sources = dyn_cast<ArrayAttr>(instance);
    if (!sources || sources.empty() || !llvm::all_of(sources, llvm::IsaPred<SourceAttr>))
      return emitOpError("needs an array of #plan.source for each instance");
  }
  return success();
}

LogicalResult KernelOp::verify() {
  for (NamedAttribute dimension : getShape())
    if (!isa<IntegerAttr, FloatAttr>(dimension.getValue()))
      return emitOpError("has dimension '") << dimension.getName().getValue() << "' that is no number";
  return success();
}

LogicalResult PointwiseOp::verifyRegions() {
  auto isElement = [](Type type) { return type.isBF16() || type.isF16() || type.isF32(); };
  if (!llvm::all_of(getBody().getArgumentTypes(), isElement))
    return emitOpError("takes elements of bf16, f16 or f32");
  auto yield = dyn_cast_or_null<YieldOp>(getBody().front().empty() ? nullptr : &getBody().front().back());
  if (!yield || !yield.getValue() || !isElement(yield.getValue().getType()))
    return emitOpError("must yield one element of bf16, f16 or f32");
  return success();
}

LogicalResult BufferOp::verify() {
  if (int64_t(getBytes()) < 1 || int64_t(getOffset()) < 0)
    return emitOpError("needs at least one byte, at an offset of 0 or more");
  if (getOffset() % 64 != 0)
    return emitOpError("must start at a multiple of 64 bytes, not at ") << getOffset();
  return success();
}

//===-- Calls and launches
//------------------------------------------------------------------------------------===//

/// The first of the variants if it is a loop variant, else null.
static VariantAttr loopVariant(ArrayAttr variants) {
  auto first = variants.empty() ? VariantAttr() : cast<VariantAttr>(variants[0]);
  return first && first.getLoop() ? first : VariantAttr();
}

/// Variants that are no loop variants, which may be passed over.
static LogicalResult verifyOwnVariants(Operation *op, ArrayRef<Attribute> variants) {
  if (variants.empty())
    return op->emitOpError("needs at least one variant of its own");
  int64_t previous = 0, keys = 0, below = 0;
  for (auto variant : llvm::map_range(variants, llvm::CastTo<VariantAttr>)) {
    if (variant.getLoop())
      return op->emitOpError("has a loop variant that is not its first");
    if (variant.getMaxRows() < previous)
      return op->emitOpError("has variants that do not ascend in rows");
    if (variant.getMaxRows() > previous && keys > 0)
      return op->emitOpError("has no variant for ")
             << previous << " rows that see fewer than " << keys << " keys";
    if (variant.getMaxRows() > previous && below > 0)
      return op->emitOpError("has no variant for ")
             << previous << " rows that see " << below << " keys and more";
    previous = variant.getMaxRows();
    keys = variant.getMinKeys();
    below = variant.getBelowKeys();
  }
  if (keys > 0)
    return op->emitOpError("has a last variant for ") << keys << " keys and more; it must take any";
  if (below > 0)
    return op->emitOpError("has a last variant for fewer than ") << below << " keys; it must take any";
  if (previous != std::numeric_limits<uint32_t>::max())
    return op->emitOpError("has a last variant that takes at most ") << previous << " rows; it must take any";
  return success();
}

static LogicalResult verifyVariants(Operation *op, ArrayAttr variants) {
  VariantAttr loop = loopVariant(variants);
  if (!loop)
    return verifyOwnVariants(op, variants.getValue());
  if (!op->getParentOfType<LoopOp>())
    return op->emitOpError("has a loop variant but is in no loop");
  if (llvm::any_of(loop.getGrid(), [](DimAttr dim) { return dim.getExtent() != RowExtent::Fixed; }))
    return op->emitOpError("has a loop variant whose grid is not fixed");
  return verifyOwnVariants(op, variants.getValue().drop_front());
}

LogicalResult CallOp::verify() {
  if (failed(verifyVariants(*this, getVariants())))
    return failure();
  unsigned inputs = 0, results = 0;
  for (auto arg : getArgs().getAsRange<ArgAttr>())
    if (!arg.getSymbol())
      ++(arg.getAccess() == Access::Out ? results : inputs);
  if (inputs != getInputs().size() || results != getNumResults())
    return emitOpError("names ") << inputs << " operands and " << results
                                 << " results in its arguments but has " << getInputs().size() << " and "
                                 << getNumResults();
  if (getNodes().size() != getNumResults())
    return emitOpError("needs a node name for each result");
  ArrayRef<int64_t> pairs = getInPlace();
  if (pairs.size() % 2 != 0)
    return emitOpError("in_place lists pairs of a result and an operand");
  for (unsigned i = 0; i < pairs.size(); i += 2)
    if (pairs[i] < 0 || pairs[i] >= int64_t(results) || pairs[i + 1] < 0 || pairs[i + 1] >= int64_t(inputs))
      return emitOpError("in_place pair (")
             << pairs[i] << ", " << pairs[i + 1] << ") names no result and operand";
  return success();
}

LogicalResult LaunchOp::verify() {
  if (failed(verifyVariants(*this, getVariants())))
    return failure();
  for (auto arg : getArgs().getAsRange<ArgAttr>())
    if (!arg.getSymbol())
      return emitOpError("has an argument that is no buffer, weight, constant or KV cache");
  for (auto value : getValues().getAsRange<NodeValueAttr>())
    if (value.getArg() >= int64_t(getArgs().size()))
      return emitOpError("has value '") << value.getNode() << "' in an argument that does not exist";
  return success();
}

//===-- loop
//--------------------------------------------------------------------------------------------------===//

LogicalResult LoopOp::verify() {
  if (int64_t(getFirst()) < 0 || int64_t(getCount()) < 1)
    return emitOpError("needs at least one layer, from 0 up");
  if ((*this)->getParentOfType<LoopOp>())
    return emitOpError("can't be inside another loop");
  return success();
}

/// Either no launch of a loop's body has a loop variant, or all have one for the same steps, and one the
/// kernel: a step runs all layers' launches or the one kernel.
static LogicalResult verifyLoopVariants(LoopOp loop) {
  SmallVector<std::pair<RowExtent, VariantAttr>> launches;
  for (Operation &op : loop.getBody().front()) {
    if (auto call = dyn_cast<CallOp>(op))
      launches.emplace_back(call.getRows(), loopVariant(call.getVariants()));
    else if (auto launch = dyn_cast<LaunchOp>(op))
      launches.emplace_back(launch.getRows(), loopVariant(launch.getVariants()));
  }
  if (llvm::all_of(launches, [](const auto &launch) { return !launch.second; }))
    return success();
  unsigned kernels = 0;
  auto [firstRows, first] = launches.front();
  for (auto [rows, variant] : launches) {
    if (!first || !variant)
      return loop.emitOpError("has a loop variant in some launches of its body, not in all");
    if (rows != firstRows || variant.getMaxRows() != first.getMaxRows() ||
        variant.getMinKeys() != first.getMinKeys() || variant.getBelowKeys() != first.getBelowKeys())
      return loop.emitOpError("has loop variants for different steps");
    kernels += llvm::all_of(variant.getGrid(), [](DimAttr dim) { return dim.getCount() > 0; });
  }
  if (kernels != 1)
    return loop.emitOpError("needs one loop variant with a grid that is not empty, not ") << kernels;
  return success();
}

LogicalResult LoopOp::verifyRegions() {
  Block &body = getBody().front();
  if (body.getNumArguments() != (getInitial() ? 1u : 0u) || bool(getInitial()) != bool(getResult()))
    return emitOpError("needs an initial value, an argument and a result, or none of the three");
  auto yield = dyn_cast_or_null<YieldOp>(body.empty() ? nullptr : &body.back());
  if (!yield)
    return emitOpError("must end in plan.yield");
  Type yielded = yield.getValue() ? yield.getValue().getType() : Type();
  Type expected = getInitial() ? getInitial().getType() : Type();
  if (yielded != expected || (getResult() && getResult().getType() != expected))
    return emitOpError("must yield what it takes");
  return verifyLoopVariants(*this);
}

//===-- program
//-----------------------------------------------------------------------------------------------===//

static LogicalResult verifyKernel(KernelOp kernel, SymbolTable &symbols) {
  if (!symbols.lookup<TargetOp>(kernel.getTargetAttr().getAttr()))
    return kernel.emitOpError("is for ") << kernel.getTargetAttr() << ", which is no target of the program";
  if (kernel.getPointwise() && !symbols.lookup<PointwiseOp>(kernel.getPointwiseAttr().getAttr()))
    return kernel.emitOpError("computes ")
           << kernel.getPointwiseAttr() << ", which is no pointwise body of the program";
  if (!kernel.getParts())
    return success();
  for (auto name : kernel.getPartsAttr().getAsRange<FlatSymbolRefAttr>()) {
    auto part = symbols.lookup<KernelOp>(name.getAttr());
    if (!part || part.getTarget() != kernel.getTarget())
      return kernel.emitOpError("has part ") << name << ", which is no kernel of its program and target";
    if (part.getParts())
      return kernel.emitOpError("has part ") << name << ", which has parts itself";
  }
  return success();
}

/// References of one launch or call, which has `variants` and `args`.
static LogicalResult verifyReferences(Operation *op, ArrayAttr variants, ArrayAttr args,
                                      SymbolTable &symbols) {
  for (auto variant : variants.getAsRange<VariantAttr>())
    if (!symbols.lookup<KernelOp>(variant.getKernel().getAttr()))
      return op->emitOpError("uses ") << variant.getKernel() << ", which is no kernel of the program";
  bool inLoop = op->getParentOfType<LoopOp>() != nullptr;
  for (auto arg : args.getAsRange<ArgAttr>()) {
    if (!arg.getSymbol())
      continue;
    Operation *record = symbols.lookup(arg.getSymbol().getAttr());
    if (!isa_and_nonnull<WeightOp, ConstantOp, KvCacheOp, BufferOp>(record))
      return op->emitOpError("uses ")
             << arg.getSymbol() << ", which is no buffer, weight, constant or KV cache";
    if (arg.getAccess() == Access::Out && isa<WeightOp, ConstantOp>(record))
      return op->emitOpError("writes ") << arg.getSymbol() << ", which is read-only";
    if (auto weight = dyn_cast<WeightOp>(record); weight && weight.getFirstLayer() && !inLoop)
      return op->emitOpError("uses ") << arg.getSymbol() << ", which differs by layer, outside a loop";
    if (isa<BufferOp>(record) && isa<CallOp>(op))
      return op->emitOpError("uses buffer ") << arg.getSymbol() << " before memory is planned";
  }
  return success();
}

/// A launch leaves its node values within its buffers.
static LogicalResult verifyValues(LaunchOp launch, SymbolTable &symbols) {
  for (auto value : launch.getValues().getAsRange<NodeValueAttr>()) {
    auto arg = cast<ArgAttr>(launch.getArgs()[value.getArg()]);
    auto buffer = symbols.lookup<BufferOp>(arg.getSymbol().getAttr());
    if (!buffer)
      return launch.emitOpError("has value '") << value.getNode() << "' outside a buffer";
    BlockSize block = blockSize(*dtypeFromName(std::string_view(value.getDtype())));
    int64_t end = value.getFirstByte() + value.getColumns() * block.bytes;
    if (end > int64_t(buffer.getBytes()))
      return launch.emitOpError("has value '")
             << value.getNode() << "' that ends at byte " << end << " of a buffer of " << buffer.getBytes();
  }
  return success();
}

LogicalResult ProgramOp::verifyRegions() {
  mlir::SymbolTable symbols(*this);
  unsigned bodies = 0;
  for (Operation &op : getBody().front()) {
    bodies += isa<GraphOp, ScheduleOp>(op);
    if (auto kernel = dyn_cast<KernelOp>(op); kernel && failed(verifyKernel(kernel, symbols)))
      return failure();
    if (auto weight = dyn_cast<WeightOp>(op))
      for (auto instance : weight.getSources().getAsRange<ArrayAttr>())
        for (auto source : instance.getAsRange<SourceAttr>())
          if (!symbols.lookup<FileOp>(source.getFile().getAttr()))
            return weight.emitOpError("comes from ")
                   << source.getFile() << ", which is no file of the program";
    if (auto schedule = dyn_cast<ScheduleOp>(op); schedule && !symbols.lookup<BufferOp>(schedule.getLogits()))
      return schedule.emitOpError("leaves logits in ") << schedule.getLogitsAttr() << ", which is no buffer";
  }
  if (bodies > 1)
    return emitOpError("has more than one graph or schedule");
  WalkResult checked = walk([&](Operation *op) {
    LogicalResult result = success();
    if (auto call = dyn_cast<CallOp>(op))
      result = verifyReferences(call, call.getVariants(), call.getArgs(), symbols);
    else if (auto launch = dyn_cast<LaunchOp>(op))
      result = success(succeeded(verifyReferences(launch, launch.getVariants(), launch.getArgs(), symbols)) &&
                       succeeded(verifyValues(launch, symbols)));
    return failed(result) ? WalkResult::interrupt() : WalkResult::advance();
  });
  return success(!checked.wasInterrupted());
}
