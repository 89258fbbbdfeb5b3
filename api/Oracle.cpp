// The interpreter of the layer IR, behind the C interface.
#include "api/Compile.h"
#include "frontends/LoadModel.h"
#include "ir/interpreter/BoundWeights.h"
#include "ir/interpreter/Interpreter.h"
#include "ir/layer/LayerOps.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"

#include <algorithm>

using namespace fusebox;

static Result<void> runOracle(const std::string &model, const std::string &mode,
                              const CompileOptions &options, std::span<const int32_t> tokens, float *logits,
                              fusebox_activation activation, void *user) {
  FUSEBOX_ASSIGN(CompiledPlan compiled, compileModel(model, options));
  FUSEBOX_ASSIGN(LoadedModel loaded, loadModel(model));
  mlir::MLIRContext context;
  context.loadDialect<layer::LayerDialect>();
  auto module = mlir::parseSourceString<mlir::ModuleOp>(compiled.ir, &context);
  if (!module)
    return internalError(model + ": the IR after bind-weights can't be read back");
  auto modelOp = *module->getOps<layer::ModelOp>().begin();
  FUSEBOX_ASSIGN(oracle::WeightRows weights, oracle::boundWeights(modelOp, loaded.checkpoint.files()));
  oracle::Observer observer;
  if (activation)
    observer = [&](const oracle::Observation &seen) {
      std::vector<float> values(seen.value.values.begin(), seen.value.values.end());
      activation(user, seen.name.c_str(), values.data(), seen.value.rows, seen.value.columns);
    };
  FUSEBOX_ASSIGN(oracle::Tensor result,
                 oracle::interpret(modelOp, weights, tokens,
                                   mode == "f64" ? oracle::Mode::F64 : oracle::Mode::Rounded, observer));
  std::copy(result.values.begin(), result.values.end(), logits);
  return {};
}

fusebox_status fusebox_oracle_logits(const char *model, const char *mode,
                                     const fusebox_compile_options *options, const int32_t *tokens,
                                     int32_t count, float *logits, fusebox_activation activation,
                                     void *user) {
  return api::guarded([&]() -> Result<void> {
    if (std::string_view(mode) != "f64" && std::string_view(mode) != "bf16")
      return usageError(std::string("oracle: '") + mode + "' is not f64 or bf16");
    if (api::isPlanFile(model))
      return usageError(std::string(model) + ": is a plan; the oracle takes the model it was made from");
    fusebox_compile_options stopped = *options;
    stopped.stop_after = "bind-weights";
    FUSEBOX_ASSIGN(CompileOptions compile, api::compileOptions(stopped));
    return runOracle(model, mode, compile, {tokens, size_t(count)}, logits, activation, user);
  });
}

fusebox_status fusebox_model_vocabulary(const char *model, const fusebox_compile_options *,
                                        int32_t *vocabulary) {
  return api::guarded([&]() -> Result<void> {
    FUSEBOX_ASSIGN(LoadedModel loaded, loadModel(model));
    *vocabulary = int32_t(loaded.spec.vocab);
    return {};
  });
}
