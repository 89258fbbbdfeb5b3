#include "passes/select-kernels/CudaKernels.h"
#include "passes/select-kernels/MergeLaunches.h"

using namespace mlir;
using namespace fusebox;

namespace {

class CudaLaunchMerger : LaunchMerger {
public:
  CudaLaunchMerger(PlanRecords &records, const cuda::Chip &chip)
      : LaunchMerger(records, cuda::maxArgs), chip(chip) {}

  void run(Block &block) {
    for (Operation &op : llvm::make_early_inc_range(block)) {
      if (auto loop = dyn_cast<plan::LoopOp>(op))
        run(loop.getBody().front());
      LaunchNode node = nodeOf(&op);
      if (!node)
        continue;
      if (node.kernel == "norm" && node["groups"] == 1)
        mergeNorm(node);
      else if (node.isPointwise())
        mergePointwise(rootOf(node));
      else if (node.kernel == "kv_write")
        mergeHeads(node);
    }
  }

private:
  const cuda::Chip &chip;

  /// A product of bf16 (linear_tile is its kernel for many rows) whose kernel for few rows is linear_skinny.
  bool isTensorProduct(const LaunchNode &node) {
    return node && node.kernel == "linear_tile" &&
           llvm::none_of(node.call.getVariants().getAsRange<plan::VariantAttr>(),
                         [&](plan::VariantAttr variant) {
                           return kernelOf(variant).getTemplateName() == "linear_stream";
                         });
  }
  /// What a tree may begin with: a product of one sum an element, of any type, or an embedding.
  static bool isSource(const LaunchNode &node) {
    return node && (node.kernel == "linear_tile" || node.kernel == "linear_any" ||
                    node.kernel == "linear_tile_blocks" || node.kernel == "embed");
  }

  //===-- Groups
  //----------------------------------------------------------------------------------------------===//

  /// norm -> products (-> pointwise calls of two of them).
  void mergeNorm(const LaunchNode &norm) {
    if (norm["type"] != int64_t(DType::BF16) || norm["gainType"] != int64_t(DType::BF16))
      return;
    SmallVector<LaunchNode, 3> products;
    for (Operation *user : norm.call.getResult(0).getUsers())
      products.push_back(nodeOf(user));
    std::reverse(products.begin(), products.end()); // users come last first
    if (products.empty() || products.size() > 3 ||
        !llvm::all_of(products, [&](const LaunchNode &product) { return isTensorProduct(product); }))
      return;
    for (const LaunchNode &product : products)
      if (product["hasBias"] != products[0]["hasBias"] || product["biasType"] != products[0]["biasType"] ||
          product.body != products[0].body || product["logitsRows"])
        return;
    if (LaunchNode user = onlyUser(products[0]); user && user.isPointwise()) {
      PointwiseTree tree =
          treeOf(rootOf(user), [&](const LaunchNode &product) { return isTensorProduct(product); });
      bool same = tree.products.size() == products.size() && (products.size() == 1 || isPair(tree));
      if (same && (mergeTree(tree, &norm) || mergeTree(tree, nullptr)))
        return;
    }
    if (!mergeProducts(products, &norm) && products.size() > 1)
      mergeProducts(products, nullptr);
  }

  /// Products that share their input, with the norm before them if it is given.
  bool mergeProducts(ArrayRef<LaunchNode> products, const LaunchNode *norm) {
    Group group = productGroup(products, norm);
    group.body = products[0].body;
    group.last = products.back().call;
    SmallVector<MergedArg, 12> outs;
    for (const LaunchNode &product : products) {
      outs.push_back({product.call.getResult(0)});
      if (product.call != group.last)
        group.covered.push_back(product.call);
    }
    group.args.insert(group.args.begin(), outs.begin(), outs.end());
    return apply(group);
  }

  /// Whether a tree takes the sums of two products that linear_skinny computes side by side.
  bool isPair(const PointwiseTree &tree) {
    if (tree.products.size() != 2)
      return false;
    const LaunchNode &a = tree.products[0], &b = tree.products[1];
    return isTensorProduct(a) && isTensorProduct(b) && a.call.getInputs()[0] == b.call.getInputs()[0] &&
           a["out"] == b["out"] && !a["hasBias"] && !b["hasBias"];
  }

  /// Pointwise calls up to `root`: with the products they follow, or as one launch by themselves.
  void mergePointwise(const LaunchNode &root) {
    PointwiseTree tree = treeOf(root, isSource);
    if (tree.products.size() > 1 && !isPair(tree)) {
      plan::CallOp chosen = tree.products.back().call;
      tree = treeOf(root, [&](const LaunchNode &product) { return product.call == chosen; });
    }
    mergeTree(tree, nullptr);
  }

  /// A tree behind its products, the norm before them if it is given; for steps of more rows than their
  /// kernel takes, its pointwise calls as one.
  bool mergeTree(const PointwiseTree &tree, const LaunchNode *norm) {
    SmallVector<Group, 4> groups;
    if (!tree.products.empty())
      groups = treeGroups(tree, norm);
    PointwiseTree alone = treeOf(tree.root, [](const LaunchNode &) { return false; });
    if (!alone.covered.empty() && (groups.empty() || groups.back().rows.back() != anyRows)) {
      Group &group = groups.emplace_back();
      group.kernel = "pointwise";
      group.shape = tree.root.shape;
      group.body = bodyOf(alone);
      group.args.push_back({tree.root.call.getResult(0)});
      for (Value input : alone.inputs)
        group.args.push_back({input});
      group.covered = alone.covered;
      group.last = tree.root.call;
      group.rows = {anyRows};
    }
    return !groups.empty() && apply(groups);
  }

  /// The products of a tree with its body: those of linear_skinny together, another in each of its own
  /// kernels; but in linear_tile it stays apart, as a library may compute that product.
  SmallVector<Group, 4> treeGroups(const PointwiseTree &tree, const LaunchNode *norm) {
    SmallVector<Group, 4> groups;
    if (isTensorProduct(tree.products[0])) {
      groups.push_back(productGroup(tree.products, norm));
      groups[0].shape["glu"] = tree.products.size() == 2;
    } else {
      for (auto variant : tree.products[0].call.getVariants().getAsRange<plan::VariantAttr>())
        if (kernelOf(variant).getTemplateName() != "linear_tile")
          groups.push_back(ownGroup(tree.products[0], variant));
    }
    FlatSymbolRefAttr body = bodyOf(tree);
    for (Group &group : groups) {
      group.body = body;
      group.args.insert(group.args.begin(), MergedArg{tree.root.call.getResult(0)});
      for (Value input : tree.inputs)
        group.args.push_back({input});
      group.covered.append(tree.covered);
      group.last = tree.root.call;
    }
    return groups;
  }

  /// Products of one input as one linear_skinny, with the norm before them if it is given; args so far:
  /// input, weights, biases, gain.
  static Group productGroup(ArrayRef<LaunchNode> products, const LaunchNode *norm) {
    Group group;
    group.kernel = "linear_skinny";
    group.shape = products[0].shape;
    group.products.assign(products.begin(), products.end());
    Value input = norm ? norm->call.getInputs()[0] : products[0].call.getInputs()[0];
    group.args.push_back({input});
    group.wholeRows = {input};
    for (auto [i, product] : llvm::enumerate(products)) {
      group.shape["part" + std::to_string(i)] = product.real("out");
      group.args.push_back(symbolOf(product.call, 2));
    }
    if (products[0]["hasBias"])
      for (const LaunchNode &product : products)
        group.args.push_back(symbolOf(product.call, 3));
    group.rows = {4, 8, 16};
    if (!norm)
      return group;
    group.covered.push_back(norm->call);
    group.args.push_back(symbolOf(norm->call, 2));
    for (const char *name : {"columns", "type"})
      group.shape[name] = norm->real(name);
    addNorm(group, *norm);
    return group;
  }

  /// A call in one of its own kernels; args so far: all but its result.
  Group ownGroup(const LaunchNode &node, plan::VariantAttr variant) {
    Group group;
    plan::KernelOp kernel = kernelOf(variant);
    group.kernel = kernel.getTemplateName().str();
    group.shape = shapeOf(kernel);
    group.rows = {variant.getMaxRows()};
    group.wholeRows.append(node.call.getInputs().begin(), node.call.getInputs().end());
    unsigned operand = 0;
    for (auto arg : node.call.getArgs().getAsRange<plan::ArgAttr>())
      if (arg.getSymbol())
        group.args.push_back({{}, arg.getSymbol()});
      else if (arg.getAccess() == plan::Access::In)
        group.args.push_back({node.call.getInputs()[operand++]});
    return group;
  }

  /// (per-head norm ->) rotation of q and of k -> KV write.
  void mergeHeads(const LaunchNode &write) {
    std::optional<HeadCalls> heads = headsOf(write);
    if (!heads || heads->turnK["type"] != int64_t(DType::BF16) || heads->turnK["headDim"] % 2)
      return;
    Group group;
    group.kernel = "prepare_heads";
    group.shape = heads->turnQ.shape;
    group.shape["kvHeads"] = heads->turnK.real("heads");
    group.shape["columns"] = heads->turnQ.real("headDim");
    group.shape["groups"] = 1;
    group.covered = heads->covered;
    group.last = write.call;
    group.args = {{heads->turnQ.call.getResult(0)}, symbolOf(write.call, 0), {heads->q}, {heads->k},
                  {write.call.getInputs()[1]},      {heads->angles}};
    if (heads->normQ) {
      addNorm(group, heads->normQ);
      group.args.append({symbolOf(heads->normQ.call, 2), symbolOf(heads->normK.call, 2)});
    }
    group.rows = {4, 8, 16, anyRows};
    apply(group);
  }

  Merged mergedFor(const Group &group, int64_t rows) override {
    Merged merged = {&group, rows, group.shape, {}};
    if (group.kernel == "linear_skinny")
      cuda::chooseSkinnyTiles(merged.shape, unsigned(rows), chip.multiprocessors);
    auto variant = cuda::makeVariant({group.kernel, merged.shape}, uint32_t(rows), chip);
    if (variant && group.args.size() <= cuda::maxArgs) {
      merged.kernel = toKernelVariant(context, *variant);
      merged.kernel->body = group.body;
    }
    return merged;
  }

  /// A product is cut as the merged one is, also for steps of more rows than that takes: cut otherwise, its
  /// bits would depend on the batch.
  plan::VariantAttr aloneFor(plan::CallOp call, const Merged &merged) override {
    const auto &products = merged.group->products;
    const LaunchNode *product =
        llvm::find_if(products, [&](const LaunchNode &node) { return node.call == call; });
    if (product != products.end() && merged.group->kernel == "linear_skinny") {
      cuda::Shape shape = product->shape;
      shape["part0"] = product->real("out");
      shape["stacked"] = merged.shape.at("stacked");
      shape["columnTiles"] = merged.shape.at("columnTiles");
      if (auto variant = cuda::makeVariant({"linear_skinny", shape}, uint32_t(merged.rows), chip)) {
        KernelVariant kernel = toKernelVariant(context, *variant);
        kernel.body = product->body;
        return plan::VariantAttr::get(context, records.kernel(kernel), merged.rows, kernel.grid);
      }
    }
    return LaunchMerger::aloneFor(call, merged);
  }
};

} // namespace

void fusebox::mergeCudaLaunches(plan::GraphOp graph, PlanRecords &records, const cuda::Chip &chip) {
  CudaLaunchMerger(records, chip).run(graph.getBody().front());
}
