#include "kernels/cpu/AttentionRow.h"
#include "kernels/cpu/KernelTable.h"
#include "kernels/cpu/LinearRow.h"
#include "passes/select-kernels/MergeLaunches.h"

#include "llvm/ADT/MapVector.h"

using namespace mlir;
using namespace fusebox;

namespace {

class CpuLaunchMerger : LaunchMerger {
public:
  CpuLaunchMerger(PlanRecords &records, const TargetKernels &kernels)
      : LaunchMerger(records, /*maxArgs=*/UINT_MAX), kernels(kernels) {}

  void run(Block &block) {
    llvm::MapVector<Value, SmallVector<Unit, 3>> unitsOf; // by what their products read
    for (Operation &op : block) {
      if (auto loop = dyn_cast<plan::LoopOp>(op))
        run(loop.getBody().front());
      else if (LaunchNode node = nodeOf(&op); isProduct(node) && !grouped.contains(&op))
        unitsOf[node.call.getInputs()[0]].push_back(unitOf(node));
      else if (node && node.kernel == "attention")
        mergeHeads(node);
    }
    for (auto &[input, units] : unitsOf)
      mergeUnits(nodeOf(input), units);
  }

private:
  const TargetKernels &kernels;
  DenseSet<Operation *> grouped; ///< products and endings that are in a unit

  /// A product, or gate and up, with the call that alone reads them, if there is one for the kernel's end.
  struct Unit {
    SmallVector<LaunchNode, 2> products;
    LaunchNode ending;
    plan::CallOp last() const { return ending ? ending.call : products[0].call; }
  };

  static bool isProduct(const LaunchNode &node) { return node && node.kernel == "linear"; }

  Unit unitOf(const LaunchNode &product) {
    Unit unit = {{product}, onlyUser(product)};
    bool isGlu = unit.ending && unit.ending.kernel == "glu";
    if (isGlu)
      unit.products = {nodeOf(unit.ending.call.getInputs()[0]), nodeOf(unit.ending.call.getInputs()[1])};
    if (isGlu ? !arePair(unit) : !isResidualSum(unit))
      unit = {{product}, {}};
    for (const LaunchNode &node : unit.products)
      grouped.insert(node.call);
    if (unit.ending)
      grouped.insert(unit.ending.call);
    return unit;
  }

  /// Whether the ending adds to the product what is not the end of another unit.
  bool isResidualSum(const Unit &unit) {
    return unit.ending && unit.ending.kernel == "add" && !grouped.contains(unit.ending.call) &&
           unit.ending["type"] == unit.products[0]["outType"];
  }

  /// Whether gate and up are two products alike of one input, and glu alone reads both.
  bool arePair(const Unit &unit) {
    const LaunchNode &gate = unit.products[0], &up = unit.products[1];
    if (!isProduct(gate) || !isProduct(up) || gate.call == up.call || !onlyUser(gate) || !onlyUser(up) ||
        gate.call.getInputs()[0] != up.call.getInputs()[0] || unit.ending["type"] != gate["outType"])
      return false;
    return llvm::all_of(
        gate.shape, [&](const auto &constant) { return up.real(constant.first.c_str()) == constant.second; });
  }

  /// Units whose products read one value: with their endings, and with the norm that makes it if nobody else
  /// reads it.
  void mergeUnits(const LaunchNode &norm, ArrayRef<Unit> units) {
    SmallVector<Group, 3> groups;
    if (isNormOf(norm, units))
      for (const Unit &unit : units)
        groups.push_back(groupOf(unit, &norm));
    if (groups.empty() || !llvm::all_of(groups, [&](const Group &group) { return takes(group); })) {
      groups.clear();
      for (const Unit &unit : units)
        if (unit.ending)
          groups.push_back(groupOf(unit, nullptr));
    } else {
      groups[0].covered.push_back(norm.call);
    }
    for (Group &group : groups)
      apply(group);
  }

  bool takes(const Group &group) { return mergedFor(group, group.rows.back()).kernel.has_value(); }

  /// Whether the units' products, and nothing else, read rows that `norm` makes of whole rows.
  static bool isNormOf(const LaunchNode &norm, ArrayRef<Unit> units) {
    if (!norm || norm.kernel != "norm" || norm["groups"] != 1)
      return false;
    unsigned reads = 0;
    for (const Unit &unit : units)
      for (const LaunchNode &product : unit.products) {
        bool same = product.call->getBlock() == norm.call->getBlock() &&
                    product.call.getRows() == norm.call.getRows() && product["inType"] == norm["type"];
        if (!same)
          return false;
        ++reads;
      }
    return size_t(std::distance(norm.call.getResult(0).use_begin(), norm.call.getResult(0).use_end())) ==
           reads;
  }

  /// The unit as one launch; `norm` is not among the covered calls, which may be several groups'.
  Group groupOf(const Unit &unit, const LaunchNode *norm) {
    const LaunchNode &product = unit.products[0];
    Group group;
    group.kernel = "linear_row";
    group.shape = product.shape;
    group.last = unit.last();
    group.rows = {1};
    group.args.resize(size_t(LinearRowArg::Count));
    auto arg = [&](LinearRowArg which) -> MergedArg & { return group.args[size_t(which)]; };
    arg(LinearRowArg::Out).value = group.last.getResult(0);
    arg(LinearRowArg::In).value = norm ? norm->call.getInputs()[0] : product.call.getInputs()[0];
    group.wholeRows = {arg(LinearRowArg::In).value};
    arg(LinearRowArg::Weight) = symbolOf(product.call, 2);
    if (product["hasBias"])
      arg(LinearRowArg::Bias) = symbolOf(product.call, 3);
    if (norm) {
      addNorm(group, *norm);
      arg(LinearRowArg::Gain) = symbolOf(norm->call, 2);
    }
    if (unit.ending)
      addEnding(group, unit);
    return group;
  }

  void addEnding(Group &group, const Unit &unit) {
    auto arg = [&](LinearRowArg which) -> MergedArg & { return group.args[size_t(which)]; };
    for (const LaunchNode &each : unit.products)
      group.covered.push_back(each.call);
    if (unit.products.size() == 2) {
      group.shape["ending"] = double(LinearRowEnding::Glu);
      for (const char *name : {"activation", "roundActivation"})
        group.shape[name] = unit.ending.real(name);
      arg(LinearRowArg::SecondWeight) = symbolOf(unit.products[1].call, 2);
      if (unit.products[1]["hasBias"])
        arg(LinearRowArg::SecondBias) = symbolOf(unit.products[1].call, 3);
      return;
    }
    group.shape["ending"] = double(LinearRowEnding::Residual);
    for (Value operand : unit.ending.call.getInputs())
      if (operand != group.covered[0].getResult(0))
        arg(LinearRowArg::Residual).value = operand;
  }

  /// (per-head norm ->) rotation of q and of k -> KV write -> attention.
  void mergeHeads(const LaunchNode &attention) {
    LaunchNode write = nodeOf(attention.call->getPrevNode());
    if (!write || write.kernel != "kv_write")
      return;
    std::optional<HeadCalls> heads = headsOf(write);
    if (!heads || heads->turnQ.call.getResult(0) != attention.call.getInputs()[0] ||
        !attention.call.getInputs()[0].hasOneUse() || heads->turnQ["type"] != attention["type"])
      return;
    Group group;
    group.kernel = "attention_row";
    group.shape = attention.shape;
    for (const char *name : {"rotaryDim", "interleaved", "anglesType", "roundProducts"})
      group.shape[name] = heads->turnQ.real(name);
    group.covered = heads->covered;
    group.covered.push_back(write.call);
    group.last = attention.call;
    group.rows = {1};
    group.args.resize(size_t(AttentionRowArg::Count));
    auto arg = [&](AttentionRowArg which) -> MergedArg & { return group.args[size_t(which)]; };
    arg(AttentionRowArg::Out).value = group.last.getResult(0);
    arg(AttentionRowArg::Kv) = symbolOf(write.call, 0);
    arg(AttentionRowArg::Q).value = heads->q;
    arg(AttentionRowArg::K).value = heads->k;
    arg(AttentionRowArg::V).value = write.call.getInputs()[1];
    arg(AttentionRowArg::Angles).value = heads->angles;
    if (heads->normQ) {
      addNorm(group, heads->normQ);
      arg(AttentionRowArg::QGain) = symbolOf(heads->normQ.call, 2);
      arg(AttentionRowArg::KGain) = symbolOf(heads->normK.call, 2);
    }
    apply(group);
  }

  Merged mergedFor(const Group &group, int64_t rows) override {
    Merged merged = {&group, rows, group.shape, {}};
    KernelShape shape;
    auto fields = cpu::kernelFields(group.kernel);
    for (const cpu::FieldType &field : *fields) {
      auto given = group.shape.find(field.name);
      double value = given == group.shape.end() ? 0 : given->second;
      shape.dimensions.emplace_back(field.name,
                                    field.isDouble ? Dimension(value) : Dimension(int64_t(value)));
    }
    plan::CallOp last = group.last;
    auto variants = kernels.variants(context, group.kernel, shape, last.getRows());
    if (variants)
      merged.kernel = std::move(variants->front());
    return merged;
  }
};

} // namespace

void fusebox::mergeCpuLaunches(plan::GraphOp graph, PlanRecords &records, const TargetKernels &kernels) {
  CpuLaunchMerger(records, kernels).run(graph.getBody().front());
}
