// The interpreter of the layer IR, behind the C interface.
#include "api/Compile.h"
#include "frontends/LoadModel.h"
#include "ir/interpreter/BoundWeights.h"
#include "ir/interpreter/Interpreter.h"
#include "ir/layer/LayerOps.h"
#include "runtime/weights/WeightFiles.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"

#include <algorithm>

using namespace fusebox;

namespace {

/// What the interpreter runs: IR after bind-weights, and the files its parameters lie in.
struct OracleInput {
  std::string ir;
  std::vector<std::span<const std::byte>> files;
  std::shared_ptr<const void> owner;
};

Result<OracleInput> inputOfModel(const std::string &model, fusebox_compile_options options) {
  options.stop_after = "bind-weights";
  FUSEBOX_ASSIGN(CompileOptions compile, api::compileOptions(options));
  FUSEBOX_ASSIGN(CompiledPlan compiled, compileModel(model, compile));
  FUSEBOX_ASSIGN(LoadedModel loaded, loadModel(model));
  OracleInput input;
  input.ir = compiled.ir;
  auto files = std::make_shared<std::vector<MappedFile>>(loaded.checkpoint.files());
  for (const MappedFile &file : *files)
    input.files.push_back(file.bytes());
  input.owner = files;
  return input;
}

Result<OracleInput> inputOfPlan(const std::string &path, const char *weightsDir) {
  FUSEBOX_ASSIGN(plan::PlanReader reader, plan::PlanReader::open(path));
  const plan::Section *ir = reader.find(plan::SectionKind::LayerIr, phaseName(Phase::BindWeights));
  if (!ir)
    return modelError(path + ": keeps no IR with bound weights for the oracle; compile the plan again");
  OracleInput input;
  FUSEBOX_ASSIGN(input.ir, reader.readText(*ir));
  FUSEBOX_ASSIGN(plan::Program program, api::firstProgram(reader));
  WeightFileOptions options;
  if (weightsDir)
    options.weightsDir = weightsDir;
  FUSEBOX_ASSIGN(WeightFiles files, WeightFiles::open(program, reader, options, /*threads=*/1));
  auto owner = std::make_shared<WeightFiles>(std::move(files));
  input.files = owner->all();
  input.owner = owner;
  return input;
}

Result<void> runOracle(const OracleInput &input, oracle::Mode mode, std::span<const int32_t> tokens,
                       float *logits, fusebox_activation activation, void *user) {
  mlir::MLIRContext context;
  context.loadDialect<layer::LayerDialect>();
  auto module = mlir::parseSourceString<mlir::ModuleOp>(input.ir, &context);
  if (!module)
    return internalError("the IR after bind-weights can't be read back");
  auto modelOp = *module->getOps<layer::ModelOp>().begin();
  FUSEBOX_ASSIGN(oracle::WeightRows weights, oracle::boundWeights(modelOp, input.files, input.owner));
  oracle::Observer observer;
  if (activation)
    observer = [&](const oracle::Observation &seen) {
      std::vector<float> values(seen.value.values.begin(), seen.value.values.end());
      activation(user, seen.name.c_str(), values.data(), seen.value.rows, seen.value.columns);
    };
  FUSEBOX_ASSIGN(oracle::Tensor result, oracle::interpret(modelOp, weights, tokens, mode, observer));
  std::copy(result.values.begin(), result.values.end(), logits);
  return {};
}

} // namespace

fusebox_status fusebox_oracle_logits(const char *model, const char *mode, const fusebox_open_options *given,
                                     const int32_t *tokens, int32_t count, float *logits,
                                     fusebox_activation activation, void *user) {
  return api::guarded([&]() -> Result<void> {
    std::string_view name = mode;
    if (name != "f64" && name != "bf16")
      return usageError(std::string("oracle: '") + mode + "' is not f64 or bf16");
    FUSEBOX_ASSIGN(fusebox_open_options options, api::complete(given, fusebox_open_options_init));
    FUSEBOX_ASSIGN(fusebox_compile_options compile,
                   api::complete(options.compile, fusebox_compile_options_init));
    FUSEBOX_ASSIGN(OracleInput input, api::isPlanFile(model) ? inputOfPlan(model, options.weights_dir)
                                                             : inputOfModel(model, compile));
    return runOracle(input, name == "f64" ? oracle::Mode::F64 : oracle::Mode::Rounded,
                     {tokens, size_t(count)}, logits, activation, user);
  });
}

fusebox_status fusebox_model_vocabulary(const char *model, int32_t *vocabulary) {
  return api::guarded([&]() -> Result<void> {
    if (api::isPlanFile(model)) {
      FUSEBOX_ASSIGN(plan::PlanReader reader, plan::PlanReader::open(model));
      FUSEBOX_ASSIGN(plan::Program program, api::firstProgram(reader));
      *vocabulary = int32_t(program.model.vocabulary);
      return {};
    }
    FUSEBOX_ASSIGN(LoadedModel loaded, loadModel(model));
    *vocabulary = int32_t(loaded.spec.vocab);
    return {};
  });
}
