#include "passes/select-kernels/Selector.h"

#include "kernels/cuda/KernelTable.h"
#include "passes/select-kernels/MergeLaunches.h"
#include "passes/select-kernels/Selections.h"

using namespace mlir;
using namespace fusebox;

/// What a launch costs beside the bytes it moves, as bytes a row: favours fewer, larger kernels.
static constexpr double launchCost = 4096;

static bool isNode(Operation *op) { return op->getNumResults() > 0 && !isa<layer::RepeatOp>(op); }

//===-- Choosing
//----------------------------------------------------------------------------------------------===//

/// Rows of `op`'s results: those of its first operand; tokens for what starts from token ids or positions.
plan::RowExtent Selector::extentOf(Operation *op) {
  if (isa<layer::SelectRowsOp>(op))
    return plan::RowExtent::LogitsRows;
  if (isa<layer::EmbedOp, layer::RopeAnglesOp>(op) || op->getNumOperands() == 0)
    return plan::RowExtent::Tokens;
  auto known = extents.find(op->getOperand(0));
  return known == extents.end() ? plan::RowExtent::Tokens : known->second;
}

/// Bytes a row that the kernels read from and write to memory, and a constant for each launch.
double Selector::costOf(ArrayRef<KernelRequest> requests) {
  double cost = 0;
  for (const KernelRequest &request : requests) {
    cost += launchCost;
    for (const KernelArg &arg : request.args)
      if (arg.value)
        cost += double(layer::columns(arg.value)) * blockSize(*elementDType(arg.value.getType())).bytes;
  }
  return cost;
}

/// The target's kernels for a request; where it generates pointwise ones, they need no entry of their own.
Result<SmallVector<KernelVariant, 2>> Selector::variantsOf(Operation *op, const KernelRequest &request) {
  bool generated = request.elementwise && kernels.generatesPointwise() && isPointwise(op);
  return generated ? kernels.variants(op->getContext(), "pointwise",
                                      {{"columns", layer::columns(op->getResult(0))}}, extentOf(op))
                   : kernels.variants(op->getContext(), request.kernel, request.shape, extentOf(op));
}

std::optional<Selector::Choice> Selector::choose(Operation *op, std::string &why) {
  MatchContext context = {[&](StringRef parameter) { return weightTypes.lookup(parameter); },
                          spec.activationsInt8};
  std::optional<Choice> best;
  for (const KernelPattern *pattern : kernelPatterns()) {
    if (op->getName().getStringRef() != pattern->root)
      continue;
    auto requests = pattern->match(op, context);
    if (!requests)
      continue;
    bool supported = llvm::all_of(*requests, [&](const KernelRequest &request) {
      auto variants = variantsOf(op, request);
      if (!variants)
        why = variants.error().message;
      return bool(variants);
    });
    double cost = costOf(*requests);
    if (supported && (!best || cost < best->cost))
      best = Choice{pattern, std::move(*requests), cost};
  }
  return best;
}

/// Makes the block-quantised weights of `op` plain ones, of the operation's own type; false if there are
/// none.
bool Selector::widenWeights(Operation *op) {
  std::optional<DType> plain = elementDType(op->getResult(0).getType());
  bool changed = false;
  for (NamedAttribute attribute : op->getAttrs()) {
    auto symbol = dyn_cast<FlatSymbolRefAttr>(attribute.getValue());
    auto type = symbol ? weightTypes.find(symbol.getValue()) : weightTypes.end();
    if (type == weightTypes.end() || !plain || type->second == *plain)
      continue;
    emitRemark(op->getLoc()) << "no kernel for " << symbol << " in " << StringRef(dtypeName(type->second))
                             << " on " << spec.name() << ": converted to " << StringRef(dtypeName(*plain))
                             << " at load";
    type->second = *plain;
    changed = true;
  }
  return changed;
}

/// Decides in which element type kernels see each parameter: the stored one where every user has a kernel for
/// it.
LogicalResult Selector::resolveWeightTypes() {
  for (auto param : model.getBody().getOps<layer::ParamOp>()) {
    auto type = elementDType(param.getType());
    if (!type)
      return param.emitError("has an element type no kernel knows");
    weightTypes[param.getSymName()] = *type;
  }
  // A type changes at most once, so this ends; a second round lets other users of a widened weight agree.
  for (bool changed = true; changed;) {
    changed = false;
    model.walk([&](Operation *op) {
      std::string why;
      if (isNode(op) && !isa<layer::FusedOp>(op) && !choose(op, why))
        changed |= widenWeights(op);
    });
  }
  return success();
}

//===-- Lowering
//----------------------------------------------------------------------------------------------===//

FailureOr<plan::ProgramOp> Selector::run() {
  if (failed(resolveWeightTypes()))
    return failure();
  plan::ProgramOp program = records.getProgram();
  builder.setInsertionPointToEnd(&program.getBody().front());
  auto graph = plan::GraphOp::create(builder, model.getLoc());
  builder.setInsertionPointToStart(&graph.getBody().emplaceBlock());
  Block &source = model.getGraph().getBody().front();
  if (failed(lowerBlock(source)))
    return failure();
  auto result = cast<layer::ReturnOp>(source.back());
  plan::YieldOp::create(builder, result.getLoc(), values.lookup(result.getValues().front()));
  if (const cuda::Chip *chip = cuda::findChip(spec.machine); chip && spec.kind == plan::DeviceKind::Cuda) {
    mergeCudaLaunches(graph, records, *chip);
    mergeCudaLoops(graph, records, *chip);
  } else if (spec.kind == plan::DeviceKind::Cpu)
    mergeCpuLaunches(graph, records, kernels);
  addSelections(graph, records, kernels);
  return program;
}

LogicalResult Selector::lowerBlock(Block &block) {
  for (Operation &op : block) {
    if (auto repeat = dyn_cast<layer::RepeatOp>(op)) {
      if (failed(lowerRepeat(repeat)))
        return failure();
    } else if (isNode(&op) && failed(lowerNode(&op))) {
      return failure();
    }
  }
  return success();
}

LogicalResult Selector::lowerRepeat(layer::RepeatOp repeat) {
  Location loc = repeat.getLoc();
  Value initial = values.lookup(repeat.getInitial());
  auto loop = plan::LoopOp::create(builder, loc, TypeRange(initial.getType()), repeat.getBlock(),
                                   repeat.getFirst(), repeat.getCount(), initial);
  extents[repeat.getResult()] = extents.lookup(repeat.getInitial());
  Block &source = repeat.getBody().front();
  Block &body = loop.getBody().emplaceBlock();
  values[source.getArgument(0)] = body.addArgument(initial.getType(), loc);
  extents[source.getArgument(0)] = extents.lookup(repeat.getInitial());
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(&body);
  if (failed(lowerBlock(source)))
    return failure();
  auto result = cast<layer::ReturnOp>(source.back());
  plan::YieldOp::create(builder, result.getLoc(), values.lookup(result.getValues().front()));
  values[repeat.getResult()] = loop.getResult();
  return success();
}

LogicalResult Selector::lowerNode(Operation *op) {
  // Already computed by the kernel of an earlier operation.
  if (llvm::all_of(op->getResults(), [&](Value result) { return values.contains(result); }))
    return success();
  std::string why;
  std::optional<Choice> choice = choose(op, why);
  if (!choice) {
    if (auto fused = dyn_cast<layer::FusedOp>(op))
      return lowerUnfused(fused);
    return op->emitError("no kernel for this operation on ")
           << spec.name() << (why.empty() ? "" : ": ") << why;
  }
  for (Value result : op->getResults())
    extents[result] = extentOf(op);
  for (const KernelRequest &request : choice->requests)
    if (failed(emitCall(op, request)))
      return failure();
  return success();
}

/// A region that no kernel computes as one falls back to the kernels of its operations.
LogicalResult Selector::lowerUnfused(layer::FusedOp fused) {
  Block &body = fused.getBody().front();
  for (auto [argument, input] : llvm::zip(body.getArguments(), fused.getInputs())) {
    values[argument] = values.lookup(input);
    extents[argument] = extents.lookup(input);
  }
  if (failed(lowerBlock(body)))
    return failure();
  for (auto [result, value] : llvm::zip(fused.getResults(), cast<layer::ReturnOp>(body.back()).getValues())) {
    values[result] = values.lookup(value);
    extents[result] = extents.lookup(value);
  }
  return success();
}

LogicalResult Selector::emitCall(Operation *op, const KernelRequest &request) {
  plan::RowExtent rows = extentOf(op);
  auto variants = variantsOf(op, request);
  FlatSymbolRefAttr body;
  if (kernels.generatesPointwise() && request.args.front().kind == KernelArg::Kind::Result)
    if (PointwiseBody made = pointwiseBody(op, request.args.front().value))
      body = records.pointwise(std::move(made));
  SmallVector<Attribute> variantAttrs, args, nodes;
  for (KernelVariant &variant : *variants) {
    variant.body = body;
    variantAttrs.push_back(plan::VariantAttr::get(op->getContext(), records.kernel(variant), variant.maxRows,
                                                  variant.minKeys, /*belowKeys=*/0, /*loop=*/false,
                                                  variant.grid));
  }

  SmallVector<Value> operands, results;
  auto add = [&](plan::Access access, FlatSymbolRefAttr symbol) {
    args.push_back(plan::ArgAttr::get(op->getContext(), access, symbol));
  };
  for (const KernelArg &arg : request.args) {
    switch (arg.kind) {
    case KernelArg::Kind::Result:
      results.push_back(arg.value);
      nodes.push_back(builder.getStringAttr(layer::nodeName(arg.value.getDefiningOp())));
      add(plan::Access::Out, {});
      break;
    case KernelArg::Kind::Operand:
      operands.push_back(values.lookup(arg.value));
      add(plan::Access::In, {});
      break;
    case KernelArg::Kind::Weight: {
      auto weight = records.weight(arg.parameter, weightTypes.lookup(arg.parameter));
      if (failed(weight))
        return failure();
      add(plan::Access::In, *weight);
      break;
    }
    case KernelArg::Kind::Constant:
      add(plan::Access::In, records.constant(arg.data));
      break;
    case KernelArg::Kind::ReadKv:
    case KernelArg::Kind::WriteKv:
      add(arg.kind == KernelArg::Kind::ReadKv ? plan::Access::In : plan::Access::Out,
          records.kvCache(arg.kvPageBytes));
      break;
    }
  }

  SmallVector<int64_t> inPlace;
  if (request.elementwise)
    for (auto [index, operand] : llvm::enumerate(operands))
      if (operand.getType() == results.front().getType())
        inPlace.append({0, int64_t(index)});
  StringRef node = layer::nodeName(op);
  StringRef name = node.empty() || results.empty() ? StringRef(request.kernel) : node;
  SmallVector<Type> types = llvm::map_to_vector(results, [](Value value) { return value.getType(); });
  auto call = plan::CallOp::create(builder, op->getLoc(), types, builder.getStringAttr(name),
                                   plan::RowExtentAttr::get(op->getContext(), rows),
                                   builder.getArrayAttr(variantAttrs), builder.getArrayAttr(args), operands,
                                   builder.getArrayAttr(nodes), builder.getDenseI64ArrayAttr(inPlace),
                                   builder.getI64IntegerAttr(0), builder.getI64IntegerAttr(0));
  for (auto [value, result] : llvm::zip(results, call.getResults())) {
    values[value] = result;
    extents[value] = rows;
  }
  return success();
}
