// The state of one compilation, and what each phase does to it. Private to compiler/.
#pragma once

#include "compiler/Compile.h"
#include "frontends/LoadModel.h"
#include "passes/Passes.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"

#include <future>
#include <map>

namespace fusebox {

class Compilation {
public:
  Compilation(const std::string &model, const CompileOptions &options);

  /// Runs all phases that the options ask for.
  Result<CompiledPlan> run();

private:
  std::string modelPath;
  const CompileOptions &options;
  CompiledPlan result;

  mlir::MLIRContext context{mlir::MLIRContext::Threading::DISABLED};
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::vector<std::string> errors; ///< diagnostics since the last phase began
  std::optional<LoadedModel> loaded;
  std::vector<TargetSpec> targets;
  std::optional<Phase> startedAfter; ///< with startFrom
  std::map<std::string, std::future<Result<std::string>>>
      hashes;                                       ///< of weight files, by path; made beside the phases
  mlir::ArrayAttr verdicts;                         ///< as fusion read them
  std::vector<std::pair<Phase, std::string>> texts; ///< IR after each phase, for the plan

  // Pipeline.cpp
  Result<void> runPhases();
  Result<void> phase(Phase phase, const std::function<Result<void>()> &body);
  Result<void> start();
  Result<void> analyze();
  std::string irText();
  Result<void> parseStart();
  Result<void> finishPhase(Phase phase);
  Result<void> runPass(std::unique_ptr<mlir::Pass> pass);
  Error takeErrors(ErrorKind kind, const std::string &otherwise);
  void takeDiagnostic(mlir::Diagnostic &diagnostic);

  // Phases.cpp
  Result<void> loadModelFiles();
  Result<void> importModel();
  Result<void> bindWeights();

  // Serialize.cpp
  Result<void> serialize();
  Result<void> describeFiles(plan::Program &program);
  Result<void> addTextAssets();
  std::string metadata() const;
};

} // namespace fusebox
