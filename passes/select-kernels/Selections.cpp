#include "passes/select-kernels/Selections.h"

using namespace mlir;
using namespace fusebox;

void fusebox::addSelections(plan::GraphOp graph, PlanRecords &records, const TargetKernels &kernels) {
  auto yield = cast<plan::YieldOp>(graph.getBody().front().getTerminator());
  Value logits = yield.getValue();
  auto type = cast<RankedTensorType>(logits.getType());
  if (!type.getElementType().isF32())
    return;
  OpBuilder builder(yield);
  MLIRContext *context = graph.getContext();
  for (const SelectionKernels &selection : kernels.selections(context, type.getDimSize(1))) {
    SmallVector<Value> operands = {logits};
    SmallVector<Attribute> args = {plan::ArgAttr::get(context, plan::Access::Out, {})};
    for (const auto &[variant, bytes] : selection.chain) {
      args.push_back(plan::ArgAttr::get(context, plan::Access::In, {}));
      auto rows = RankedTensorType::get({ShapedType::kDynamic, bytes / 4}, builder.getF32Type());
      auto choice = plan::VariantAttr::get(context, records.kernel(variant), variant.maxRows, variant.grid);
      auto call = plan::CallOp::create(
          builder, yield.getLoc(), TypeRange(rows), builder.getStringAttr(variant.kernel),
          plan::RowExtentAttr::get(context, plan::RowExtent::LogitsRows), builder.getArrayAttr(choice),
          builder.getArrayAttr(args), operands, builder.getStrArrayAttr({""}),
          DenseI64ArrayAttr::get(context, {}), builder.getI64IntegerAttr(0),
          builder.getI64IntegerAttr(selection.count));
      operands.insert(operands.begin(), call.getResult(0));
    }
  }
}
