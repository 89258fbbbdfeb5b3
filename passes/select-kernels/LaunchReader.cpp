#include "passes/select-kernels/LaunchReader.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace fusebox;

plan::KernelOp LaunchReader::kernelOf(plan::VariantAttr variant) {
  return records.getProgram().lookupSymbol<plan::KernelOp>(variant.getKernel());
}

KernelConstants LaunchReader::shapeOf(plan::KernelOp kernel) {
  KernelConstants shape;
  for (NamedAttribute dimension : kernel.getShape()) {
    auto integer = dyn_cast<IntegerAttr>(dimension.getValue());
    shape[dimension.getName().str()] =
        integer ? double(integer.getInt()) : cast<FloatAttr>(dimension.getValue()).getValueAsDouble();
  }
  return shape;
}

LaunchNode LaunchReader::nodeOf(Operation *op) {
  auto call = dyn_cast_or_null<plan::CallOp>(op);
  if (!call || taken.contains(op))
    return {};
  plan::KernelOp kernel =
      kernelOf(cast<plan::VariantAttr>(call.getVariants()[call.getVariants().size() - 1]));
  return {call, kernel.getTemplateName(), shapeOf(kernel), kernel.getPointwiseAttr()};
}

/// Whether `user` alone reads the result of `node`, in the same block for the same rows.
static bool isInner(const LaunchNode &node, const LaunchNode &user) {
  return node.call.getResult(0).hasOneUse() && node.call->getBlock() == user.call->getBlock() &&
         node.call.getRows() == user.call.getRows();
}

LaunchNode LaunchReader::onlyUser(const LaunchNode &node) {
  Value result = node.call.getResult(0);
  LaunchNode user = result.hasOneUse() ? nodeOf(*result.user_begin()) : LaunchNode();
  return user && isInner(node, user) ? user : LaunchNode();
}

LaunchNode LaunchReader::rootOf(LaunchNode node) {
  for (LaunchNode user = onlyUser(node); user && user.isPointwise(); user = onlyUser(node))
    node = user;
  return node;
}

void LaunchReader::grow(PointwiseTree &tree, const LaunchNode &node,
                        llvm::function_ref<bool(const LaunchNode &)> takes) {
  for (Value input : node.call.getInputs()) {
    LaunchNode producer = nodeOf(input);
    bool inner = producer && producer.body && isInner(producer, node);
    if (inner && producer.isPointwise()) {
      grow(tree, producer, takes);
      tree.covered.push_back(producer.call);
    } else if (inner && takes(producer)) {
      tree.products.push_back(producer);
      tree.covered.push_back(producer.call);
    } else if (!llvm::is_contained(tree.inputs, input)) {
      tree.inputs.push_back(input);
    }
  }
}

PointwiseTree LaunchReader::treeOf(const LaunchNode &root,
                                   llvm::function_ref<bool(const LaunchNode &)> takes) {
  PointwiseTree tree = {root, {}, {}, {}};
  grow(tree, root, takes);
  return tree;
}

plan::PointwiseOp LaunchReader::bodyOf(const LaunchNode &node) {
  return records.getProgram().lookupSymbol<plan::PointwiseOp>(node.body);
}

FlatSymbolRefAttr LaunchReader::bodyOf(const PointwiseTree &tree) {
  SmallVector<Type> types(tree.products.size(), Float32Type::get(context));
  for (Value input : tree.inputs)
    types.push_back(getElementTypeOrSelf(input.getType()));
  std::string name;
  for (plan::CallOp call : tree.covered)
    if (StringRef part = nodeOf(call).body.getValue(); !StringRef(name).ends_with((part + "_").str()))
      name += (part + "_").str();
  OpBuilder builder(context);
  PointwiseBody body = startBody(builder, name + tree.root.body.getValue().str(), types);
  auto arguments = body->getBody().getArguments();
  Elements elements;
  for (auto [product, sum] : llvm::zip(tree.products, arguments))
    elements[product.call.getResult(0)] = inlineBody(builder, bodyOf(product), sum);
  for (auto [input, element] : llvm::zip(tree.inputs, arguments.drop_front(tree.products.size())))
    elements[input] = element;
  for (plan::CallOp call : tree.covered)
    if (!elements.contains(call.getResult(0)))
      elements[call.getResult(0)] = inlineNode(builder, nodeOf(call), elements);
  plan::YieldOp::create(builder, builder.getUnknownLoc(), inlineNode(builder, tree.root, elements));
  return records.pointwise(std::move(body));
}

Value LaunchReader::inlineNode(OpBuilder &builder, const LaunchNode &node, const Elements &elements) {
  SmallVector<Value> operands;
  for (Value input : node.call.getInputs())
    operands.push_back(elements.lookup(input));
  return inlineBody(builder, bodyOf(node), operands);
}

/// Whether two calls have the same constants of these names.
static bool agree(const LaunchNode &a, const LaunchNode &b, ArrayRef<const char *> names) {
  return llvm::all_of(names, [&](const char *name) { return a.real(name) == b.real(name); });
}

/// The per-head norm before a rotation, which alone reads it.
LaunchNode LaunchReader::headNorm(const LaunchNode &turn) {
  Value value = turn.call.getInputs()[0];
  LaunchNode norm = nodeOf(value);
  bool isPerHead = norm && norm.kernel == "norm" && norm["columns"] == turn["headDim"] && value.hasOneUse();
  return isPerHead ? norm : LaunchNode();
}

std::optional<HeadCalls> LaunchReader::headsOf(const LaunchNode &write) {
  HeadCalls heads;
  heads.turnK = nodeOf(write.call.getInputs()[0]);
  if (!heads.turnK || heads.turnK.kernel != "rope" || !heads.turnK.call.getResult(0).hasOneUse())
    return std::nullopt;
  heads.angles = heads.turnK.call.getInputs()[1];
  for (Operation *user : heads.angles.getUsers())
    if (LaunchNode other = nodeOf(user); other && user != heads.turnK.call && other.kernel == "rope" &&
                                         user->getBlock() == write.call->getBlock())
      heads.turnQ = other;
  if (!heads.turnQ || !agree(heads.turnQ, heads.turnK,
                             {"headDim", "rotaryDim", "interleaved", "type", "anglesType", "roundProducts"}))
    return std::nullopt;
  heads.q = heads.turnQ.call.getInputs()[0], heads.k = heads.turnK.call.getInputs()[0];
  LaunchNode normQ = headNorm(heads.turnQ), normK = headNorm(heads.turnK);
  if (normQ && normK && agree(normQ, normK, {"gainType", "roundNormalised", "onePlus", "eps"})) {
    heads.normQ = normQ, heads.normK = normK;
    heads.q = normQ.call.getInputs()[0], heads.k = normK.call.getInputs()[0];
    heads.covered = {normQ.call, normK.call};
  }
  heads.covered.append({heads.turnQ.call, heads.turnK.call});
  return heads;
}

LaunchReader::MergedArg LaunchReader::symbolOf(plan::CallOp call, unsigned arg) {
  auto given = cast<plan::ArgAttr>(call.getArgs()[arg]);
  return {{}, given.getSymbol(), given.getAccess() == plan::Access::Out};
}

unsigned LaunchReader::placeOf(plan::CallOp call, SmallVectorImpl<Attribute> &args,
                               SmallVectorImpl<Value> &operands, const MergedArg &wanted) {
  unsigned operand = 0, result = 0;
  for (auto [i, attribute] : llvm::enumerate(args)) {
    auto arg = cast<plan::ArgAttr>(attribute);
    bool isResult = !arg.getSymbol() && arg.getAccess() == plan::Access::Out;
    Value value = arg.getSymbol() ? Value()
                  : isResult      ? Value(call.getResult(result++))
                                  : operands[operand++];
    if (wanted.symbol ? arg.getSymbol() != wanted.symbol : value != wanted.value)
      continue;
    if (wanted.written)
      args[i] = plan::ArgAttr::get(context, plan::Access::Out, wanted.symbol);
    return unsigned(i);
  }
  args.push_back(
      plan::ArgAttr::get(context, wanted.written ? plan::Access::Out : plan::Access::In, wanted.symbol));
  if (!wanted.symbol)
    operands.push_back(wanted.value);
  return unsigned(args.size() - 1);
}
