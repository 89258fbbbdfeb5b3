#include "passes/select-kernels/MergeLaunches.h"

#include "kernels/cuda/Variants.h"
#include "passes/select-kernels/CudaKernels.h"

#include "llvm/ADT/DenseSet.h"

using namespace mlir;
using namespace fusebox;

namespace {

constexpr int64_t anyRows = UINT32_MAX;

/// An argument of a merged kernel: a value that some call of the group reads or writes, or a record.
struct MergedArg {
  Value value;
  FlatSymbolRefAttr symbol;
};

/// A call with what its kernel for any number of rows is.
struct Node {
  mutable plan::CallOp call; ///< a handle: reading through it is no change
  StringRef kernel;
  cuda::Shape shape;

  explicit operator bool() const { return bool(call); }
  int64_t operator[](const char *name) const { return cuda::shapeInteger(shape, name); }
  double real(const char *name) const { return cuda::shapeValue(shape, name); }
};

/// Calls that run as one: `covered`, then `last`, in an order in which each follows what it reads.
struct Group {
  SmallVector<plan::CallOp, 4> covered;
  plan::CallOp last;
  std::string kernel;
  cuda::Shape shape;
  SmallVector<MergedArg, 12> args; ///< of the merged kernel
  SmallVector<int64_t, 4> rows;    ///< the step sizes to merge for, ascending
  SmallVector<Node, 3> products;   ///< of its calls, those that are products
};

/// What a group's last call runs for steps of at most so many rows; no kernel if it can't.
struct Merged {
  int64_t rows;
  cuda::Shape shape;
  std::optional<KernelVariant> kernel;
};

class LaunchMerger {
public:
  LaunchMerger(plan::GraphOp graph, PlanRecords &records, const cuda::Chip &chip)
      : records(records), chip(chip), context(graph.getContext()) {}

  void run(Block &block) {
    for (Operation &op : llvm::make_early_inc_range(block)) {
      if (auto loop = dyn_cast<plan::LoopOp>(op))
        run(loop.getBody().front());
      Node node = nodeOf(&op);
      if (!node)
        continue;
      if (node.kernel == "norm" && node["groups"] == 1)
        mergeNorm(node);
      else if (node.kernel == "add")
        mergeResidual(node);
      else if (node.kernel == "kv_write")
        mergeHeads(node);
    }
  }

private:
  PlanRecords &records;
  const cuda::Chip &chip;
  MLIRContext *context;
  llvm::DenseSet<Operation *> taken;

  //===-- Reading calls
  //---------------------------------------------------------------------------------------===//

  /// The call `op` is, unless a group has it already.
  Node nodeOf(Operation *op) {
    auto call = dyn_cast_or_null<plan::CallOp>(op);
    if (!call || taken.contains(op))
      return {};
    auto variant = cast<plan::VariantAttr>(call.getVariants()[call.getVariants().size() - 1]);
    auto kernel = records.getProgram().lookupSymbol<plan::KernelOp>(variant.getKernel());
    Node node = {call, kernel.getTemplateName(), {}};
    for (NamedAttribute dimension : kernel.getShape()) {
      auto integer = dyn_cast<IntegerAttr>(dimension.getValue());
      node.shape[dimension.getName().str()] =
          integer ? double(integer.getInt()) : cast<FloatAttr>(dimension.getValue()).getValueAsDouble();
    }
    return node;
  }
  Node nodeOf(Value value) { return nodeOf(value.getDefiningOp()); }
  /// The call that alone reads `value`.
  Node onlyUser(Value value) { return value.hasOneUse() ? nodeOf(*value.user_begin()) : Node(); }

  static bool isProduct(const Node &node) {
    return node && node.kernel == "linear_tile" && node["outType"] == int64_t(DType::BF16) &&
           node["resultType"] == int64_t(DType::BF16);
  }

  static MergedArg symbolOf(plan::CallOp call, unsigned arg) {
    return {{}, cast<plan::ArgAttr>(call.getArgs()[arg]).getSymbol()};
  }

  //===-- Groups
  //----------------------------------------------------------------------------------------------===//

  /// norm -> products (-> gated activation).
  void mergeNorm(const Node &norm) {
    if (norm["type"] != int64_t(DType::BF16) || norm["gainType"] != int64_t(DType::BF16))
      return;
    SmallVector<Node, 3> products;
    for (Operation *user : norm.call.getResult(0).getUsers())
      products.push_back(nodeOf(user));
    std::reverse(products.begin(), products.end()); // users come last first
    if (products.empty() || products.size() > 3 || !llvm::all_of(products, isProduct))
      return;
    for (const Node &product : products)
      if (product["hasBias"] != products[0]["hasBias"] || product["biasType"] != products[0]["biasType"] ||
          product["logitsRows"])
        return;
    if (products.size() == 2 && mergeGate(norm, products))
      return;

    if (!mergeProducts(products, &norm) && products.size() > 1)
      mergeProducts(products, nullptr);
  }

  /// Products that share their input, with the norm before them if it is given.
  bool mergeProducts(ArrayRef<Node> products, const Node *norm) {
    Group group = productGroup(products);
    if (norm) {
      addNorm(group, *norm);
      group.covered.push_back(norm->call);
    } else {
      group.args.insert(group.args.begin(), MergedArg{products[0].call.getInputs()[0], {}});
    }
    group.last = products.back().call;
    SmallVector<MergedArg, 12> outs;
    for (const Node &product : products) {
      outs.push_back({product.call.getResult(0), {}});
      if (product.call != group.last)
        group.covered.push_back(product.call);
    }
    group.args.insert(group.args.begin(), outs.begin(), outs.end());
    return apply(group);
  }

  bool mergeGate(const Node &norm, ArrayRef<Node> products) {
    Node glu = onlyUser(products[0].call.getResult(0));
    if (!glu || glu.kernel != "glu" || products[0]["hasBias"] || products[0]["out"] != products[1]["out"])
      return false;
    bool inOrder = glu.call.getInputs()[0] == products[0].call.getResult(0);
    const Node &gate = products[inOrder ? 0 : 1], &up = products[inOrder ? 1 : 0];
    if (glu.call.getInputs()[0] != gate.call.getResult(0) ||
        glu.call.getInputs()[1] != up.call.getResult(0) || !up.call.getResult(0).hasOneUse())
      return false;
    Group group = productGroup({gate, up});
    group.shape["glu"] = 1;
    group.shape["activation"] = glu.real("activation");
    group.shape["roundActivation"] = glu.real("roundActivation");
    addNorm(group, norm);
    group.covered = {norm.call, gate.call, up.call};
    group.last = glu.call;
    group.args.insert(group.args.begin(), MergedArg{glu.call.getResult(0), {}});
    return apply(group);
  }

  /// product -> sum with a value that was there before.
  void mergeResidual(const Node &add) {
    if (add["type"] != int64_t(DType::BF16) || add["logitsRows"])
      return;
    for (unsigned operand : {1u, 0u}) {
      Value sum = add.call.getInputs()[operand], residual = add.call.getInputs()[1 - operand];
      Node product = nodeOf(sum);
      if (!isProduct(product) || !sum.hasOneUse() || product.call->getBlock() != add.call->getBlock())
        continue;
      Group group = productGroup({product});
      group.shape["residual"] = 1;
      group.args.insert(group.args.begin(), MergedArg{add.call.getResult(0), {}});
      group.args.insert(group.args.begin() + 1, MergedArg{product.call.getInputs()[0], {}});
      group.args.push_back({residual, {}});
      group.covered = {product.call};
      group.last = add.call;
      apply(group);
      return;
    }
  }

  /// Products as one linear_skinny; args so far: weights, then biases.
  static Group productGroup(ArrayRef<Node> products) {
    Group group;
    group.kernel = "linear_skinny";
    group.shape = products[0].shape;
    group.products.assign(products.begin(), products.end());
    for (auto [i, product] : llvm::enumerate(products)) {
      group.shape["part" + std::to_string(i)] = product.real("out");
      group.args.push_back(symbolOf(product.call, 2));
    }
    if (products[0]["hasBias"])
      for (const Node &product : products)
        group.args.push_back(symbolOf(product.call, 3));
    group.rows = {4, 8, 16};
    return group;
  }

  /// Puts the norm's input before the weights and its gain behind everything.
  static void addNorm(Group &group, const Node &norm) {
    group.args.insert(group.args.begin(), MergedArg{norm.call.getInputs()[0], {}});
    group.args.push_back(symbolOf(norm.call, 2));
    group.shape["norm"] = 1;
    for (const char *name : {"columns", "type", "gainType", "roundNormalised", "onePlus", "eps"})
      group.shape[name] = norm.real(name);
  }

  /// (per-head norm ->) rotation of q and of k -> KV write.
  void mergeHeads(const Node &write) {
    Node turnK = nodeOf(write.call.getInputs()[0]);
    if (!turnK || turnK.kernel != "rope" || !turnK.call.getResult(0).hasOneUse() ||
        turnK["type"] != int64_t(DType::BF16) || turnK["headDim"] % 2)
      return;
    Value angles = turnK.call.getInputs()[1];
    Node turnQ;
    for (Operation *user : angles.getUsers())
      if (Node other = nodeOf(user);
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
    Node normQ = headNorm(q), normK = headNorm(k);
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
  Node headNorm(Value value) {
    Node norm = nodeOf(value);
    return norm && norm.kernel == "norm" && value.hasOneUse() ? norm : Node();
  }
  static bool sameNorm(const Node &a, const Node &b) {
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

  /// Rewrites the calls of a group; false if the kernel takes none of the step sizes.
  bool apply(Group &group) {
    SmallVector<Attribute> args(group.last.getArgs().begin(), group.last.getArgs().end());
    SmallVector<Value> operands(group.last.getInputs());
    for (auto [i, arg] : llvm::enumerate(group.args))
      group.shape["place" + std::to_string(i)] = placeOf(group.last, args, operands, arg);
    group.shape["arranged"] = 1;
    std::vector<Merged> merged;
    for (int64_t rows : group.rows)
      merged.push_back(mergedFor(group, rows));
    bool any = llvm::any_of(merged, [](const Merged &entry) { return entry.kernel.has_value(); });
    if (!any || args.size() > 12)
      return false;
    for (plan::CallOp call : group.covered)
      setVariants(call, group, merged);
    setVariants(group.last, group, merged);
    group.last.setArgsAttr(ArrayAttr::get(context, args));
    group.last.getInputsMutable().assign(operands);
    taken.insert(group.last);
    taken.insert(group.covered.begin(), group.covered.end());
    return true;
  }

  Merged mergedFor(const Group &group, int64_t rows) {
    Merged merged = {rows, group.shape, {}};
    if (group.kernel == "linear_skinny")
      cuda::chooseSkinnyTiles(merged.shape, unsigned(rows), chip.multiprocessors);
    if (auto variant = cuda::makeVariant({group.kernel, merged.shape}, uint32_t(rows), chip))
      merged.kernel = toKernelVariant(context, *variant);
    return merged;
  }

  /// The variant by which a call computes its part of `merged` alone, with the same bits: a product cut as
  /// the merged one is, else what it has.
  plan::VariantAttr aloneFor(plan::CallOp call, const Group &group, const Merged &merged) {
    const Node *product = llvm::find_if(group.products, [&](const Node &node) { return node.call == call; });
    if (merged.kernel && product != group.products.end()) {
      cuda::Shape shape = product->shape;
      shape["part0"] = product->real("out");
      shape["stacked"] = merged.shape.at("stacked");
      shape["columnTiles"] = merged.shape.at("columnTiles");
      if (auto variant = cuda::makeVariant({"linear_skinny", shape}, uint32_t(merged.rows), chip)) {
        KernelVariant kernel = toKernelVariant(context, *variant);
        return plan::VariantAttr::get(context, records.kernel(kernel), merged.rows, kernel.grid);
      }
    }
    auto own = call.getVariants().getAsRange<plan::VariantAttr>();
    plan::VariantAttr suits =
        *llvm::find_if(own, [&](plan::VariantAttr variant) { return variant.getMaxRows() >= merged.rows; });
    return plan::VariantAttr::get(context, suits.getKernel(), merged.rows, suits.getGrid());
  }

  /// For each step size: the merged kernel or nothing, then the call's own.
  void setVariants(plan::CallOp call, const Group &group, ArrayRef<Merged> merged) {
    SmallVector<Attribute> variants;
    for (const Merged &entry : merged) {
      plan::VariantAttr alone = aloneFor(call, group, entry);
      plan::DimAttr nothing = plan::DimAttr::get(context, 0, plan::RowExtent::Fixed, 1);
      if (entry.kernel && call == group.last)
        variants.push_back(
            plan::VariantAttr::get(context, records.kernel(*entry.kernel), entry.rows, entry.kernel->grid));
      else if (entry.kernel)
        variants.push_back(plan::VariantAttr::get(context, alone.getKernel(), entry.rows, {nothing}));
      variants.push_back(alone);
    }
    for (auto variant : call.getVariants().getAsRange<plan::VariantAttr>())
      if (variant.getMaxRows() > merged.back().rows)
        variants.push_back(variant);
    call.setVariantsAttr(ArrayAttr::get(context, variants));
  }
};

} // namespace

void fusebox::mergeLaunches(plan::GraphOp graph, PlanRecords &records, const cuda::Chip &chip) {
  LaunchMerger(graph, records, chip).run(graph.getBody().front());
}
