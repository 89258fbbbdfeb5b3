// The first phase: a model's description becomes `layer` IR. Used by the compiler and by tools that show a
// model.
#pragma once

#include "frontends/LoadModel.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <optional>

namespace fusebox {

/// Whose rounding points attention has (docs/numerics.md): Hugging Face's eager code, or sdpa with key blocks
/// of 64.
enum class ReferenceRounding { Eager, Sdpa };
/// In which type weights are kept: as stored, where kernels read that type, or all as bf16, rounded once.
enum class WeightTypes { Native, BF16 };

struct ImportOptions {
  /// Type of activations: BF16, F32 or F64; the model's own if not given (F32 for a model in f16, which has
  /// no kernels).
  std::optional<DType> dtype;
  ReferenceRounding rounding = ReferenceRounding::Sdpa;
  WeightTypes weights = WeightTypes::Native;
};

/// The model as one `layer.model` in a module: a parameter for each of the description's and a graph with one
/// body for all layers. Locations name the description's file and the tensor or node. Where layers store a
/// parameter in different types, or in one without a native kernel, its type is bf16. Fails with a diagnostic
/// where the description asks for what no operation expresses.
mlir::FailureOr<mlir::OwningOpRef<mlir::ModuleOp>>
importModel(mlir::MLIRContext &context, const LoadedModel &model, const ImportOptions &options = {});

/// The same from the description alone; every parameter is taken to be stored in the model's own type.
mlir::FailureOr<mlir::OwningOpRef<mlir::ModuleOp>>
importModel(mlir::MLIRContext &context, const ModelSpec &spec, const ImportOptions &options = {});

/// Loads the `layer` dialect into `context`, for callers that parse or build IR themselves.
void loadLayerDialect(mlir::MLIRContext &context);

} // namespace fusebox
