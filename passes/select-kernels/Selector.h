// Lowers one layer.model to the value level of one plan.program, by matching operations against the registry.
#pragma once

#include "passes/select-kernels/PlanRecords.h"

namespace fusebox {

class Selector {
public:
  Selector(layer::ModelOp model, const TargetSpec &target, const TargetKernels &kernels)
      : model(model), spec(target), kernels(kernels), records(model, target), builder(model.getContext()) {}

  /// Builds the program. Fails with a diagnostic on the operation that no kernel of the target computes.
  mlir::FailureOr<plan::ProgramOp> run();

private:
  /// A pattern's answer for an operation, once the target has agreed to it.
  struct Choice {
    const KernelPattern *pattern = nullptr;
    llvm::SmallVector<KernelRequest, 2> requests;
    double cost = 0;
  };

  layer::ModelOp model;
  const TargetSpec &spec;
  const TargetKernels &kernels;
  PlanRecords records;
  mlir::OpBuilder builder;
  llvm::DenseMap<mlir::Value, mlir::Value> values;
  llvm::DenseMap<mlir::Value, plan::RowExtent> extents;
  llvm::StringMap<DType> weightTypes;

  mlir::LogicalResult resolveWeightTypes();
  bool widenWeights(mlir::Operation *op);
  Result<llvm::SmallVector<KernelVariant, 2>> variantsOf(mlir::Operation *op, const KernelRequest &request);
  std::optional<Choice> choose(mlir::Operation *op, std::string &why);
  plan::RowExtent extentOf(mlir::Operation *op);
  double costOf(llvm::ArrayRef<KernelRequest> requests);

  mlir::LogicalResult lowerBlock(mlir::Block &block);
  mlir::LogicalResult lowerRepeat(layer::RepeatOp repeat);
  mlir::LogicalResult lowerNode(mlir::Operation *op);
  mlir::LogicalResult lowerUnfused(layer::FusedOp fused);
  mlir::LogicalResult emitCall(mlir::Operation *op, const KernelRequest &request);
};

} // namespace fusebox
