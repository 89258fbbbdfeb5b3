#include "passes/select-kernels/MergeLaunches.h"

#include "passes/select-kernels/CudaKernels.h"
#include "passes/select-kernels/LaunchReader.h"

#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace fusebox;

namespace {

constexpr int64_t anyRows = UINT32_MAX;

/// An argument of a merged kernel: a value that some call of the group reads or writes, or a record.
struct MergedArg {
  Value value;
  FlatSymbolRefAttr symbol;
};

/// Calls that run as one for some step sizes: `covered`, then `last`, in an order in which each follows what
/// it reads.
struct Group {
  SmallVector<plan::CallOp, 4> covered;
  plan::CallOp last;
  std::string kernel;
  cuda::Shape shape;
  FlatSymbolRefAttr body;
  SmallVector<MergedArg, 12> args;     ///< of the merged kernel
  SmallVector<Value, 2> wholeRows;     ///< of them, those of which an element of the result needs whole rows
  SmallVector<int64_t, 4> rows;        ///< the step sizes to merge for, ascending
  SmallVector<LaunchNode, 3> products; ///< of its calls, those that are products
};

/// What a group's last call runs for steps of at most so many rows; no kernel if it can't.
struct Merged {
  const Group *group;
  int64_t rows;
  cuda::Shape shape;
  std::optional<KernelVariant> kernel;
};

class LaunchMerger : LaunchReader {
public:
  LaunchMerger(PlanRecords &records, const cuda::Chip &chip) : LaunchReader(records), chip(chip) {}

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

  /// What a tree may begin with: a product of one sum an element, in bf16 (linear_tile is its kernel for many
  /// rows) or of any type, or an embedding.
  static bool isTensorProduct(const LaunchNode &node) { return node && node.kernel == "linear_tile"; }
  static bool isSource(const LaunchNode &node) {
    return isTensorProduct(node) || (node && (node.kernel == "linear_any" ||
                                              node.kernel == "linear_tile_blocks" || node.kernel == "embed"));
  }

  static MergedArg symbolOf(plan::CallOp call, unsigned arg) {
    return {{}, cast<plan::ArgAttr>(call.getArgs()[arg]).getSymbol()};
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
    if (products.empty() || products.size() > 3 || !llvm::all_of(products, isTensorProduct))
      return;
    for (const LaunchNode &product : products)
      if (product["hasBias"] != products[0]["hasBias"] || product["biasType"] != products[0]["biasType"] ||
          product.body != products[0].body || product["logitsRows"])
        return;
    if (LaunchNode user = onlyUser(products[0]); user && user.isPointwise()) {
      PointwiseTree tree = treeOf(rootOf(user), isTensorProduct);
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
      outs.push_back({product.call.getResult(0), {}});
      if (product.call != group.last)
        group.covered.push_back(product.call);
    }
    group.args.insert(group.args.begin(), outs.begin(), outs.end());
    return apply(group);
  }

  /// Whether a tree takes the sums of two products that linear_skinny computes side by side.
  static bool isPair(const PointwiseTree &tree) {
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
      group.args.push_back({tree.root.call.getResult(0), {}});
      for (Value input : alone.inputs)
        group.args.push_back({input, {}});
      group.covered = alone.covered;
      group.last = tree.root.call;
      group.rows = {anyRows};
    }
    return !groups.empty() && apply(groups);
  }

  /// The products of a tree with its body: bf16 ones in linear_skinny, another in each of its own kernels.
  SmallVector<Group, 4> treeGroups(const PointwiseTree &tree, const LaunchNode *norm) {
    SmallVector<Group, 4> groups;
    if (isTensorProduct(tree.products[0])) {
      groups.push_back(productGroup(tree.products, norm));
      groups[0].shape["glu"] = tree.products.size() == 2;
    } else {
      for (auto variant : tree.products[0].call.getVariants().getAsRange<plan::VariantAttr>())
        groups.push_back(ownGroup(tree.products[0], variant));
    }
    FlatSymbolRefAttr body = bodyOf(tree);
    for (Group &group : groups) {
      group.body = body;
      group.args.insert(group.args.begin(), MergedArg{tree.root.call.getResult(0), {}});
      for (Value input : tree.inputs)
        group.args.push_back({input, {}});
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
    group.args.push_back({input, {}});
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
    group.shape["norm"] = 1;
    for (const char *name : {"columns", "type", "gainType", "roundNormalised", "onePlus", "eps"})
      group.shape[name] = norm->real(name);
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
        group.args.push_back({node.call.getInputs()[operand++], {}});
    return group;
  }

  /// (per-head norm ->) rotation of q and of k -> KV write.
  void mergeHeads(const LaunchNode &write) {
    LaunchNode turnK = nodeOf(write.call.getInputs()[0]);
    if (!turnK || turnK.kernel != "rope" || !turnK.call.getResult(0).hasOneUse() ||
        turnK["type"] != int64_t(DType::BF16) || turnK["headDim"] % 2)
      return;
    Value angles = turnK.call.getInputs()[1];
    LaunchNode turnQ;
    for (Operation *user : angles.getUsers())
      if (LaunchNode other = nodeOf(user);
          other && user != turnK.call && other.kernel == "rope" && user->getBlock() == write.call->getBlock())
        turnQ = other;
    if (!turnQ)
      return;
    for (const char *name : {"headDim", "rotaryDim", "interleaved", "type", "anglesType", "roundProducts"})
      if (turnQ[name] != turnK[name])
        return;
    Value q = turnQ.call.getInputs()[0], k = turnK.call.getInputs()[0];
    Group group;
    group.kernel = "prepare_heads";
    group.shape = turnQ.shape;
    group.shape["kvHeads"] = turnK.real("heads");
    group.shape["columns"] = turnQ.real("headDim");
    group.shape["groups"] = 1;
    LaunchNode normQ = headNorm(q), normK = headNorm(k);
    bool norms = normQ && normK && sameNorm(normQ, normK);
    if (norms) {
      q = normQ.call.getInputs()[0], k = normK.call.getInputs()[0];
      group.shape["norm"] = 1;
      for (const char *name : {"gainType", "roundNormalised", "onePlus", "eps"})
        group.shape[name] = normQ.real(name);
      group.covered = {normQ.call, normK.call};
    }
    group.covered.append({turnQ.call, turnK.call});
    group.last = write.call;
    group.args = {{turnQ.call.getResult(0), {}},
                  symbolOf(write.call, 0),
                  {q, {}},
                  {k, {}},
                  {write.call.getInputs()[1], {}},
                  {angles, {}}};
    if (norms)
      group.args.append({symbolOf(normQ.call, 2), symbolOf(normK.call, 2)});
    group.rows = {4, 8, 16, anyRows};
    apply(group);
  }

  /// The per-head norm that computes `value` for one reader.
  LaunchNode headNorm(Value value) {
    LaunchNode norm = nodeOf(value);
    return norm && norm.kernel == "norm" && value.hasOneUse() ? norm : LaunchNode();
  }
  static bool sameNorm(const LaunchNode &a, const LaunchNode &b) {
    for (const char *name : {"columns", "gainType", "roundNormalised", "onePlus", "eps"})
      if (a.real(name) != b.real(name))
        return false;
    return true;
  }

  //===-- Rewriting
  //-------------------------------------------------------------------------------------------===//

  /// Where `wanted` is among the arguments of `call`: its own, or appended now.
  unsigned placeOf(plan::CallOp call, SmallVectorImpl<Attribute> &args, SmallVectorImpl<Value> &operands,
                   const MergedArg &wanted) {
    unsigned operand = 0, result = 0;
    for (auto [i, attribute] : llvm::enumerate(args)) {
      auto arg = cast<plan::ArgAttr>(attribute);
      bool isResult = !arg.getSymbol() && arg.getAccess() == plan::Access::Out;
      Value value = arg.getSymbol() ? Value()
                    : isResult      ? Value(call.getResult(result++))
                                    : operands[operand++];
      if (wanted.symbol ? arg.getSymbol() == wanted.symbol : value == wanted.value)
        return unsigned(i);
    }
    args.push_back(plan::ArgAttr::get(context, plan::Access::In, wanted.symbol));
    if (!wanted.symbol)
      operands.push_back(wanted.value);
    return unsigned(args.size() - 1);
  }

  /// Rewrites the calls of groups that end in the same call, for ascending step sizes; false if the kernels
  /// take none of these.
  bool apply(MutableArrayRef<Group> groups) {
    plan::CallOp last = groups[0].last;
    SmallVector<Attribute> args(last.getArgs().begin(), last.getArgs().end());
    SmallVector<Value> operands(last.getInputs());
    std::vector<Merged> merged;
    llvm::SmallSetVector<plan::CallOp, 8> calls;
    for (Group &group : groups) {
      if (llvm::none_of(group.rows, [&](int64_t rows) { return mergedFor(group, rows).kernel.has_value(); }))
        continue;
      for (auto [i, arg] : llvm::enumerate(group.args))
        group.shape["place" + std::to_string(i)] = placeOf(last, args, operands, arg);
      group.shape["arranged"] = 1;
      for (int64_t rows : group.rows)
        merged.push_back(mergedFor(group, rows));
      calls.insert(group.covered.begin(), group.covered.end());
    }
    if (merged.empty() || args.size() > cuda::maxArgs)
      return false;
    calls.insert(last);
    for (plan::CallOp call : calls)
      setVariants(call, merged);
    last.setArgsAttr(ArrayAttr::get(context, args));
    last.getInputsMutable().assign(operands);
    last.setInPlace(inPlace(last, groups));
    for (plan::CallOp call : calls)
      taken.insert(call);
    return true;
  }

  /// What the result may still overwrite: nothing of which other elements are read.
  static SmallVector<int64_t> inPlace(plan::CallOp last, ArrayRef<Group> groups) {
    SmallVector<int64_t> pairs;
    ArrayRef<int64_t> before = last.getInPlace();
    for (unsigned i = 0; i < before.size(); i += 2)
      if (llvm::none_of(groups, [&](const Group &group) {
            return llvm::is_contained(group.wholeRows, last.getInputs()[unsigned(before[i + 1])]);
          }))
        pairs.append({before[i], before[i + 1]});
    return pairs;
  }

  Merged mergedFor(const Group &group, int64_t rows) {
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

  /// The variant by which a call computes its part of `merged` alone, with the same bits: a product cut as
  /// the merged one is, else what it has.
  plan::VariantAttr aloneFor(plan::CallOp call, const Merged &merged) {
    const auto &products = merged.group->products;
    const LaunchNode *product =
        llvm::find_if(products, [&](const LaunchNode &node) { return node.call == call; });
    if (merged.kernel && product != products.end() && merged.group->kernel == "linear_skinny") {
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
    auto own = call.getVariants().getAsRange<plan::VariantAttr>();
    plan::VariantAttr suits =
        *llvm::find_if(own, [&](plan::VariantAttr variant) { return variant.getMaxRows() >= merged.rows; });
    return plan::VariantAttr::get(context, suits.getKernel(), merged.rows, suits.getGrid());
  }

  /// For each step size: the merged kernel or nothing, then the call's own; between them its own variants.
  void setVariants(plan::CallOp call, ArrayRef<Merged> merged) {
    SmallVector<Attribute> variants;
    int64_t done = 0;
    auto addOwn = [&](int64_t upTo) {
      for (auto variant : call.getVariants().getAsRange<plan::VariantAttr>())
        if (variant.getMaxRows() > done && variant.getMaxRows() <= upTo)
          variants.push_back(variant);
      done = upTo;
    };
    for (const Merged &entry : merged) {
      bool covered = llvm::is_contained(entry.group->covered, call);
      if (!covered && call != entry.group->last)
        continue;
      addOwn(entry.rows - 1);
      done = entry.rows;
      plan::VariantAttr alone = aloneFor(call, entry);
      if (entry.kernel && !covered)
        variants.push_back(
            plan::VariantAttr::get(context, records.kernel(*entry.kernel), entry.rows, entry.kernel->grid));
      else if (entry.kernel)
        variants.push_back(
            plan::VariantAttr::get(context, alone.getKernel(), entry.rows,
                                   {plan::DimAttr::get(context, 0, plan::RowExtent::Fixed, 1)}));
      variants.push_back(alone);
    }
    addOwn(anyRows);
    call.setVariantsAttr(ArrayAttr::get(context, variants));
  }
};

} // namespace

void fusebox::mergeLaunches(plan::GraphOp graph, PlanRecords &records, const cuda::Chip &chip) {
  LaunchMerger(records, chip).run(graph.getBody().front());
}
