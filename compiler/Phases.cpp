// Phases that touch files: import and bind-weights. The others are passes.
#include "compiler/Compilation.h"

#include "frontends/Resolve.h"
#include "frontends/import/ImportModel.h"
#include "passes/bind-weights/BindWeights.h"
#include "support/ContentHash.h"

#include "mlir/IR/Builders.h"

#include <filesystem>

using namespace mlir;
using namespace fusebox;

/// Reads the model's description and maps its files, once; starts hashing the weights beside the other
/// phases.
Result<void> Compilation::loadModelFiles() {
  if (loaded)
    return {};
  if (modelPath.empty())
    return usageError("no model given: IR from before bind-weights needs the model's files");
  FUSEBOX_ASSIGN(loaded, loadModel(modelPath));
  HashMemo memo = options.verifyWeights ? HashMemo::Rehash : HashMemo::Use;
  bool needed = !options.stopAfter || *options.stopAfter == Phase::Serialize;
  for (const MappedFile &file : needed ? loaded->checkpoint.files() : std::vector<MappedFile>())
    hashes[file.path()] = std::async(std::launch::async, [file, memo] { return contentHash(file, memo); });
  return {};
}

Result<void> Compilation::importModel() {
  FUSEBOX_TRY(loadModelFiles());
  ImportOptions import;
  import.dtype = options.dtype;
  if (options.rounding != "sdpa" && options.rounding != "eager")
    return usageError("unknown rounding '" + options.rounding + "': expected sdpa or eager");
  if (options.weights != "native" && options.weights != "bf16")
    return usageError("unknown weights '" + options.weights + "': expected native or bf16");
  import.rounding = options.rounding == "eager" ? ReferenceRounding::Eager : ReferenceRounding::Sdpa;
  import.weights = options.weights == "bf16" ? WeightTypes::BF16 : WeightTypes::Native;
  FailureOr<OwningOpRef<ModuleOp>> imported = fusebox::importModel(context, *loaded, import);
  if (failed(imported))
    return takeErrors(ErrorKind::Model, modelPath + ": import failed");
  module = std::move(*imported);
  // Reports and plans call the model by the name it was asked for.
  Builder builder(&context);
  std::filesystem::path path(modelPath);
  std::string name = path.has_filename() ? path.filename() : path.parent_path().filename();
  for (auto model : module->getOps<layer::ModelOp>()) {
    NamedAttrList facts(model.getConfig());
    facts.set("name", builder.getStringAttr(name));
    model.setConfigAttr(facts.getDictionary(&context));
  }
  return {};
}

Result<void> Compilation::bindWeights() {
  FUSEBOX_TRY(loadModelFiles());
  for (auto model : module->getOps<layer::ModelOp>())
    if (failed(fusebox::bindWeights(model, loaded->checkpoint)))
      return takeErrors(ErrorKind::Model, modelPath + ": weights don't fit the model");
  return {};
}
