#include "passes/select-kernels/MergeLaunches.h"

#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace fusebox;

void LaunchMerger::addNorm(Group &group, const LaunchNode &norm) {
  group.shape["norm"] = 1;
  for (const char *name : {"gainType", "roundNormalised", "onePlus", "eps"})
    group.shape[name] = norm.real(name);
}

bool LaunchMerger::apply(MutableArrayRef<Group> groups) {
  plan::CallOp last = groups[0].last;
  SmallVector<Attribute> args(last.getArgs().begin(), last.getArgs().end());
  SmallVector<Value> operands(last.getInputs());
  std::vector<Merged> merged;
  llvm::SmallSetVector<plan::CallOp, 8> calls;
  for (Group &group : groups) {
    if (llvm::none_of(group.rows, [&](int64_t rows) { return mergedFor(group, rows).kernel.has_value(); }))
      continue;
    for (auto [i, arg] : llvm::enumerate(group.args))
      if (arg.value || arg.symbol)
        group.shape["place" + std::to_string(i)] = placeOf(last, args, operands, arg);
    group.shape["arranged"] = 1;
    for (int64_t rows : group.rows)
      merged.push_back(mergedFor(group, rows));
    calls.insert(group.covered.begin(), group.covered.end());
  }
  if (merged.empty() || args.size() > maxArgs)
    return false;
  calls.insert(last);
  for (plan::CallOp call : calls)
    setVariants(call, merged);
  last.setArgsAttr(ArrayAttr::get(context, args));
  last.getInputsMutable().assign(operands);
  // The result may overwrite nothing of which other elements are read.
  SmallVector<int64_t> inPlace;
  for (unsigned i = 0; i < last.getInPlace().size(); i += 2)
    if (llvm::none_of(groups, [&](const Group &group) {
          return llvm::is_contained(group.wholeRows, operands[unsigned(last.getInPlace()[i + 1])]);
        }))
      inPlace.append({last.getInPlace()[i], last.getInPlace()[i + 1]});
  last.setInPlace(inPlace);
  for (plan::CallOp call : calls)
    taken.insert(call);
  return true;
}

plan::VariantAttr LaunchMerger::aloneFor(plan::CallOp call, const Merged &merged) {
  auto own = call.getVariants().getAsRange<plan::VariantAttr>();
  plan::VariantAttr suits =
      *llvm::find_if(own, [&](plan::VariantAttr variant) { return variant.getMaxRows() >= merged.rows; });
  return plan::VariantAttr::get(context, suits.getKernel(), merged.rows, suits.getGrid());
}

/// For each step size: the merged kernel or nothing, then the call's own; between them its own variants.
void LaunchMerger::setVariants(plan::CallOp call, ArrayRef<Merged> merged) {
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
      variants.push_back(plan::VariantAttr::get(context, alone.getKernel(), entry.rows,
                                                {plan::DimAttr::get(context, 0, plan::RowExtent::Fixed, 1)}));
    variants.push_back(alone);
  }
  addOwn(anyRows);
  call.setVariantsAttr(ArrayAttr::get(context, variants));
}
