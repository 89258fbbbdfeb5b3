// Compilation of the C interface: plans, and the IR of phases.
#include "api/Compile.h"
#include "check/LoadGate.h"

#include <set>
#include <sstream>

using namespace fusebox;

void fusebox_compile_options_init(fusebox_compile_options *options) {
  *options = {};
  options->size = sizeof *options;
  options->target = "cpu";
  options->dtype = "bf16";
  options->weights = "native";
  options->rounding = "sdpa";
  options->fusion = "certified";
}

static Result<void> checkChoice(const char *option, const char *value, const std::set<std::string> &allowed) {
  if (value && allowed.count(value))
    return {};
  std::string list;
  for (const std::string &name : allowed)
    list += (list.empty() ? "" : ", ") + name;
  return usageError(std::string(option) + ": '" + (value ? value : "(null)") + "' is not one of " + list);
}

Result<CompileOptions> api::compileOptions(const fusebox_compile_options &options) {
  FUSEBOX_TRY(checkChoice("dtype", options.dtype, {"bf16", "f32"}));
  FUSEBOX_TRY(checkChoice("weights", options.weights, {"native", "bf16"}));
  FUSEBOX_TRY(checkChoice("rounding", options.rounding, {"sdpa", "eager"}));
  FUSEBOX_TRY(checkChoice("fusion", options.fusion, {"certified", "score", "none", "force"}));
  CompileOptions result;
  std::istringstream targets(options.target);
  for (std::string target; std::getline(targets, target, ',');)
    result.targets.push_back(target);
  result.dtype = dtypeFromName(options.dtype);
  result.weights = options.weights;
  result.rounding = options.rounding;
  result.fusion = options.fusion;
  result.activationsInt8 = options.activations_int8 != 0;
  result.embedWeights = options.embed_weights != 0;
  result.verifyWeights = options.verify_weights != 0;
  if (options.stop_after) {
    result.stopAfter = phaseFromName(options.stop_after);
    if (!result.stopAfter)
      return usageError(std::string("'") + options.stop_after +
                        "' is not a phase; phases are import, bind-weights, analyze, fuse, select-kernels, "
                        "plan-memory, schedule, codegen, serialize");
  }
  if (options.start_from)
    result.startFrom = options.start_from;
  if (options.dump_phases)
    result.dumpDir = options.dump_phases;
  if (auto progress = options.progress)
    result.progress = [progress, user = options.progress_user](std::string_view phase, double fraction) {
      return progress(user, std::string(phase).c_str(), fraction) == 0;
    };
  return result;
}

Result<void> api::checkBeforeCompiling(const std::string &model, const fusebox_compile_options &options) {
  auto policy = fusionPolicyFrom(options.fusion ? options.fusion : "");
  if (!policy || model.empty())
    return {};
  CheckOptions check;
  check.verifyWeights = options.verify_weights != 0;
  check.activations = dtypeFromName(options.dtype);
  if (std::string_view(options.rounding) == "eager")
    check.rounding = AttentionRounding::Eager;
  FUSEBOX_ASSIGN(FusionDecision decision, checkAtLoad(model, *policy, check));
  if (options.warning)
    for (const std::string &line : decision.warnings)
      options.warning(options.warning_user, line.c_str());
  return {};
}

Result<std::string> api::planPath(const std::string &model, const fusebox_compile_options &options) {
  if (isPlanFile(model))
    return model;
  FUSEBOX_ASSIGN(CompileOptions compile, compileOptions(options));
  FUSEBOX_TRY(checkBeforeCompiling(model, options));
  return cachedPlan(model, compile);
}

fusebox_status fusebox_compile(const char *model, const char *plan_path,
                               const fusebox_compile_options *given) {
  return api::guarded([&]() -> Result<void> {
    FUSEBOX_ASSIGN(fusebox_compile_options options, api::complete(given, fusebox_compile_options_init));
    FUSEBOX_ASSIGN(CompileOptions compile, api::compileOptions(options));
    if (compile.stopAfter)
      return usageError("fusebox_compile makes whole plans; fusebox_phase_ir gives the IR after a phase");
    FUSEBOX_TRY(api::refusePlan(model, "compile"));
    FUSEBOX_TRY(api::checkBeforeCompiling(model, options));
    FUSEBOX_ASSIGN(CompiledPlan compiled, compileModel(model, compile));
    return compiled.writer.write(plan_path, [&](double fraction) {
      return !compile.progress || compile.progress("writing", fraction);
    });
  });
}

/// The IR that a plan keeps of a phase.
static Result<std::string> storedIr(const std::string &path, Phase phase) {
  FUSEBOX_ASSIGN(plan::PlanReader reader, plan::PlanReader::open(path));
  std::string names;
  for (const plan::Section &section : reader.sections())
    if (section.kind == plan::SectionKind::LayerIr || section.kind == plan::SectionKind::PlanIr) {
      if (section.name == phaseName(phase))
        return reader.readText(section);
      names += (names.empty() ? "" : ", ") + section.name;
    }
  return usageError(path + ": keeps no IR of phase " + std::string(phaseName(phase)) + "; it has " + names);
}

fusebox_status fusebox_phase_ir(const char *model, const char *phase, const fusebox_compile_options *given,
                                char **text) {
  return api::guarded([&]() -> Result<void> {
    FUSEBOX_ASSIGN(fusebox_compile_options options, api::complete(given, fusebox_compile_options_init));
    options.stop_after = phase;
    FUSEBOX_ASSIGN(CompileOptions compile, api::compileOptions(options));
    if (api::isPlanFile(model)) {
      FUSEBOX_ASSIGN(std::string ir, storedIr(model, *compile.stopAfter));
      *text = api::copyString(ir);
      return {};
    }
    FUSEBOX_ASSIGN(CompiledPlan compiled, compileModel(model, compile));
    *text = api::copyString(compiled.ir);
    return {};
  });
}
