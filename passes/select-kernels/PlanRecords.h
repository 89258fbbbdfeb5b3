// Creates the records of a plan.program as select-kernels needs them: each weight, constant, cache and kernel
// once.
#pragma once

#include "ir/layer/LayerOps.h"
#include "ir/plan/PlanOps.h"
#include "passes/select-kernels/PointwiseBody.h"
#include "passes/select-kernels/TargetKernels.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringMap.h"

namespace fusebox {

class PlanRecords {
public:
  /// Starts a program for `target` at the end of the module, with its target and the model's files.
  PlanRecords(layer::ModelOp model, const TargetSpec &target);

  plan::ProgramOp getProgram() { return program; }
  /// The weight made from a layer.param, in element type `type`: converted at load if it is stored in another
  /// one. Fails with a diagnostic if the parameter is not bound.
  mlir::FailureOr<mlir::FlatSymbolRefAttr> weight(llvm::StringRef parameter, DType type);
  mlir::FlatSymbolRefAttr constant(mlir::DenseElementsAttr data);
  mlir::FlatSymbolRefAttr kvCache(int64_t pageBytes);
  mlir::FlatSymbolRefAttr kernel(const KernelVariant &variant);
  /// The record of a body: an equal one, or this one under a free name.
  mlir::FlatSymbolRefAttr pointwise(PointwiseBody body);

private:
  layer::ModelOp model;
  plan::ProgramOp program;
  mlir::OpBuilder builder;
  mlir::FlatSymbolRefAttr target;
  llvm::StringMap<mlir::FlatSymbolRefAttr> weights, bodies;
  llvm::DenseMap<mlir::Attribute, mlir::FlatSymbolRefAttr> constants, kernels;
  llvm::MapVector<int64_t, mlir::FlatSymbolRefAttr> caches;
  llvm::StringMap<unsigned> usedNames;

  mlir::StringAttr uniqueName(const llvm::Twine &wanted);
};

} // namespace fusebox
