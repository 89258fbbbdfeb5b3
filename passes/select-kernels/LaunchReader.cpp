#include "passes/select-kernels/LaunchReader.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace fusebox;

plan::KernelOp LaunchReader::kernelOf(plan::VariantAttr variant) {
  return records.getProgram().lookupSymbol<plan::KernelOp>(variant.getKernel());
}

cuda::Shape LaunchReader::shapeOf(plan::KernelOp kernel) {
  cuda::Shape shape;
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
