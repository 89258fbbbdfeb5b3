// Entries of the kernel registry: which operations a kernel computes and what it needs to know about them.
//
// A kernel is one file in patterns/ with one KernelPattern, named in Registry.cpp, plus an implementation for
// each target (kernels/cpu, kernels/cuda). Patterns are the same for all targets; what a target can do
// (element types, shape limits, grids, variants for few or many rows) is in its own table, seen here as
// TargetKernels.
#pragma once

#include "ir/layer/LayerOps.h"
#include "support/DType.h"

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/ADT/Twine.h"

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace fusebox {

/// A kernel's compile-time constants by name. Types are DType numbers, flags 0 or 1.
using Dimension = std::variant<int64_t, double>;
struct KernelShape {
  llvm::SmallVector<std::pair<std::string, Dimension>, 12> dimensions;

  KernelShape() = default;
  KernelShape(std::initializer_list<std::pair<std::string, Dimension>> list) : dimensions(list) {}
};

/// One argument of a kernel, in terms of the layer IR.
struct KernelArg {
  enum class Kind { Result, Operand, Weight, Constant, ReadKv, WriteKv };
  Kind kind = Kind::Operand;
  mlir::Value value;            ///< Result, Operand: of the layer IR
  llvm::StringRef parameter;    ///< Weight: the layer.param
  mlir::DenseElementsAttr data; ///< Constant
  int64_t kvPageBytes = 0;      ///< ReadKv, WriteKv

  static KernelArg result(mlir::Value value) { return {Kind::Result, value, {}, {}, 0}; }
  static KernelArg operand(mlir::Value value) { return {Kind::Operand, value, {}, {}, 0}; }
  static KernelArg weight(llvm::StringRef parameter) { return {Kind::Weight, {}, parameter, {}, 0}; }
  static KernelArg constant(mlir::DenseElementsAttr data) { return {Kind::Constant, {}, {}, data, 0}; }
  static KernelArg readKv(int64_t pageBytes) { return {Kind::ReadKv, {}, {}, {}, pageBytes}; }
  static KernelArg writeKv(int64_t pageBytes) { return {Kind::WriteKv, {}, {}, {}, pageBytes}; }
};

/// A kernel applied: template, constants, arguments in the kernel's order.
struct KernelRequest {
  std::string kernel;
  KernelShape shape;
  llvm::SmallVector<KernelArg, 4> args;
  bool elementwise =
      false; ///< each element of the result depends on the same element of the operands: may run in place
};

/// What patterns may ask about the model.
struct MatchContext {
  /// Element type of a parameter as kernels will see it: stored, or widened at load.
  std::function<DType(llvm::StringRef parameter)> weightType;
  /// Quantised products may quantise their activations to 8 bits (--activations-int8).
  bool activationsInt8 = false;
};

/// One entry: the kernels that compute the operation `root` (and what it covers beside it).
struct KernelPattern {
  llvm::StringLiteral name;
  llvm::StringLiteral root; ///< operation name; "layer.fused" for fused kernels
  layer::Contract contract; ///< rounding contract the kernel keeps
  /// The kernels to run, in order, or nothing if the operation is not of this pattern's form. Every result of
  /// the covered operations that is used elsewhere is a Result of one of them.
  std::optional<llvm::SmallVector<KernelRequest, 2>> (*match)(mlir::Operation *root,
                                                              const MatchContext &context);
};

/// All entries, in the order in which ties are broken.
llvm::ArrayRef<const KernelPattern *> kernelPatterns();

/// DType of a tensor's or parameter's element type; none for a type kernels don't know.
std::optional<DType> elementDType(mlir::Type type);

/// The number kernels know the element type of a value by.
inline int64_t typeNumber(mlir::Value value) { return int64_t(*elementDType(value.getType())); }

} // namespace fusebox
