// The pipeline: every phase, from top to bottom, and what surrounds each of them.
#include "compiler/Compilation.h"

#include "codegen/cpu/CpuCodegen.h"
#include "codegen/plan/GenerateCode.h"
#include "ir/layer/LayerOps.h"
#include "ir/plan/PlanOps.h"
#include "passes/analyze/Analyze.h"
#include "support/AtomicFile.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"

#include <chrono>
#include <filesystem>

using namespace mlir;
using namespace fusebox;

static constexpr llvm::StringLiteral phaseAttribute = "plan.phase";

Result<void> Compilation::runPhases() {
  FUSEBOX_TRY(phase(Phase::Import, [&] { return importModel(); }));
  FUSEBOX_TRY(phase(Phase::BindWeights, [&] { return bindWeights(); }));
  FUSEBOX_TRY(phase(Phase::Analyze, [&] { return analyze(); }));
  FUSEBOX_TRY(phase(Phase::Fuse, [&] { return runPass(createFusePass(options.fusion)); }));
  FUSEBOX_TRY(phase(Phase::SelectKernels, [&] { return runPass(createSelectKernelsPass(targets)); }));
  FUSEBOX_TRY(phase(Phase::PlanMemory, [&] { return runPass(createPlanMemoryPass()); }));
  FUSEBOX_TRY(phase(Phase::Schedule, [&] { return runPass(createSchedulePass()); }));
  FUSEBOX_TRY(phase(Phase::Codegen, [&] { return runPass(createGenerateCodePass()); }));
  FUSEBOX_TRY(phase(Phase::Serialize, [&] { return serialize(); }));
  return {};
}

Compilation::Compilation(const std::string &model, const CompileOptions &options)
    : modelPath(model), options(options) {
  context.loadDialect<layer::LayerDialect, plan::PlanDialect>();
  context.getDiagEngine().registerHandler([this](Diagnostic &diagnostic) { takeDiagnostic(diagnostic); });
}

Result<CompiledPlan> Compilation::run() {
  FUSEBOX_TRY(start());
  FUSEBOX_TRY(runPhases());
  return std::move(result);
}

/// Verdicts are for fusion: without it, only who asks for them waits for them.
Result<void> Compilation::analyze() {
  bool wanted = options.fusion != "none" || options.stopAfter == Phase::Analyze;
  return wanted ? runPass(createAnalyzePass()) : Result<void>();
}

/// Checks the options and, with startFrom, reads the IR.
Result<void> Compilation::start() {
  for (std::string name : options.targets.empty() ? std::vector<std::string>{"cpu"} : options.targets) {
    if (name == "cpu")
      name = "cpu:native";
    FUSEBOX_ASSIGN(TargetSpec target, TargetSpec::parse(name));
    if (target.kind == plan::DeviceKind::Cpu) {
      FUSEBOX_ASSIGN(cpu::CpuTarget cpu, cpu::parseCpuTarget(name.substr(4)));
      target.label = cpu.name;
      target.machine = cpu.cpu;
      target.features = cpu.features;
    }
    target.activationsInt8 = options.activationsInt8;
    for (const TargetSpec &other : targets)
      if (other.name() == target.name())
        return usageError("the target " + target.name() + " is given twice");
    targets.push_back(target);
  }
  if (!options.dumpDir.empty()) {
    std::error_code failed;
    std::filesystem::create_directories(options.dumpDir, failed);
    if (failed)
      return resourceError(options.dumpDir + ": can't make the folder for IR dumps: " + failed.message());
  }
  return options.startFrom.empty() ? Result<void>() : parseStart();
}

Result<void> Compilation::parseStart() {
  FUSEBOX_ASSIGN(MappedFile file, MappedFile::open(options.startFrom)); // says what is wrong with the path
  module = parseSourceFile<ModuleOp>(options.startFrom, ParserConfig(&context));
  if (!module)
    return takeErrors(ErrorKind::Model, options.startFrom + ": is no IR");
  auto name = (*module)->getAttrOfType<StringAttr>(phaseAttribute);
  startedAfter = name ? phaseFromName(std::string_view(name.getValue())) : std::nullopt;
  if (!startedAfter)
    return modelError(options.startFrom +
                      ": the module does not say which phase it was dumped after (plan.phase)");
  if (options.stopAfter && *options.stopAfter <= *startedAfter)
    return usageError(options.startFrom + ": is IR from after " + std::string(phaseName(*startedAfter)) +
                      ", which is not before " + std::string(phaseName(*options.stopAfter)));
  return {};
}

/// Runs one phase: before it progress, after it the verifier, the dump and the text for the plan.
Result<void> Compilation::phase(Phase phase, const std::function<Result<void>()> &body) {
  bool skipped = startedAfter && phase <= *startedAfter;
  if (skipped || (options.stopAfter && phase > *options.stopAfter))
    return {};
  if (options.progress && !options.progress(phaseName(phase), double(phase) / phaseNames.size()))
    return resourceError("compilation cancelled");
  auto began = std::chrono::steady_clock::now();
  FUSEBOX_TRY(body());
  if (phase != Phase::Serialize)
    FUSEBOX_TRY(finishPhase(phase));
  result.reached = phase;
  std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - began;
  result.times.push_back({phase, took.count()});
  return {};
}

Result<void> Compilation::finishPhase(Phase phase) {
  (*module)->setAttr(phaseAttribute, StringAttr::get(&context, StringRef(phaseName(phase))));
  if (failed(verify(*module)))
    return takeErrors(startedAfter ? ErrorKind::Model : ErrorKind::Internal,
                      "the IR after " + std::string(phaseName(phase)) + " is not valid");
  // Code is a section of its own in the plan; as text it would only take time.
  bool last = options.stopAfter == phase;
  if (phase == Phase::Codegen && !last && options.dumpDir.empty())
    return {};
  if (!options.dumpDir.empty()) {
    std::string path = options.dumpDir + "/" + std::to_string(unsigned(phase) + 1) + "-" +
                       std::string(phaseName(phase)) + ".mlir";
    std::string text = irText();
    FUSEBOX_TRY(writeFileAtomically(path, std::as_bytes(std::span(text))));
  }
  // Verdicts are a table with a row for each layer, node and contract: not for reading.
  SmallVector<std::pair<layer::ModelOp, DictionaryAttr>> whole;
  for (auto model : module->getOps<layer::ModelOp>()) {
    if (ArrayAttr table = model.getVerdictsAttr(); table && phase == Phase::Fuse)
      verdicts = table;
    whole.emplace_back(model, model->getAttrDictionary());
    elideVerdicts(model);
  }
  result.ir = irText();
  for (auto [model, attributes] : whole)
    model->setAttrs(attributes);
  if (phase != Phase::Codegen)
    texts.emplace_back(phase, result.ir);
  return {};
}

std::string Compilation::irText() {
  std::string text;
  llvm::raw_string_ostream stream(text);
  module->print(stream);
  return text + '\n';
}

Result<void> Compilation::runPass(std::unique_ptr<Pass> pass) {
  std::string name = pass->getArgument().str();
  PassManager manager(&context);
  manager.enableVerifier(false); // finishPhase verifies
  manager.addPass(std::move(pass));
  if (failed(manager.run(*module)))
    return takeErrors(ErrorKind::Model, name + " failed");
  return {};
}

//===-- Diagnostics
//-------------------------------------------------------------------------------------------===//

/// "config.json: q_proj", "edited.mlir:12:3": where a diagnostic points, without the parts a user has no use
/// for.
static std::string placeOf(Location location) {
  std::string place;
  if (auto name = dyn_cast<NameLoc>(location)) {
    place = placeOf(name.getChildLoc());
    return place + (place.empty() ? "" : ": ") + name.getName().str();
  }
  if (auto file = dyn_cast<FileLineColLoc>(location)) {
    place = file.getFilename().str();
    if (file.getLine() != 0)
      place += ":" + std::to_string(file.getLine()) + ":" + std::to_string(file.getColumn());
  }
  return place;
}

void Compilation::takeDiagnostic(Diagnostic &diagnostic) {
  std::string place = placeOf(diagnostic.getLocation());
  std::string message = place + (place.empty() ? "" : ": ") + diagnostic.str();
  if (diagnostic.getSeverity() == DiagnosticSeverity::Error)
    errors.push_back(message);
  else
    result.remarks.push_back(message);
}

/// The diagnostics so far as one error; `otherwise` if there are none.
Error Compilation::takeErrors(ErrorKind kind, const std::string &otherwise) {
  std::string message;
  for (const std::string &error : errors)
    message += (message.empty() ? "" : "\n") + error;
  errors.clear();
  return {kind, message.empty() ? otherwise : message};
}

Result<CompiledPlan> fusebox::compileModel(const std::string &model, const CompileOptions &options) {
  if (model.empty() && options.startFrom.empty())
    return usageError("no model given: name a folder, a GGUF file or org/name");
  return Compilation(model, options).run();
}
