// Opening sessions: a plan, or a model that is compiled into the cache first.
#include "api/Compile.h"

#include <cstdlib>

using namespace fusebox;

void fusebox_open_options_init(fusebox_open_options *options) {
  *options = {};
  options->size = sizeof *options;
  fusebox_compile_options_init(&options->compile);
}

/// "cpu", "cuda" or "cuda:1".
static Result<void> chooseDevice(const char *device, SessionOptions &options) {
  if (!device)
    return {};
  std::string_view name = device;
  size_t colon = name.find(':');
  std::string_view kind = name.substr(0, colon);
  if (kind == "cpu")
    options.kind = plan::TargetKind::Cpu;
  else if (kind == "cuda")
    options.kind = plan::TargetKind::Cuda;
  else
    return usageError("device '" + std::string(name) + "' is not cpu, cuda or cuda:N");
  if (colon != std::string_view::npos) {
    char *end = nullptr;
    options.deviceIndex = uint32_t(std::strtoul(device + colon + 1, &end, 10));
    if (*end || end == device + colon + 1)
      return usageError("device '" + std::string(name) + "': the part after ':' must be a number");
  }
  return {};
}

fusebox_status fusebox_open(const char *model, const fusebox_open_options *options,
                            fusebox_session **session) {
  return api::guarded([&]() -> Result<void> {
    SessionOptions request;
    FUSEBOX_TRY(chooseDevice(options->device, request));
    request.threads = uint32_t(options->threads);
    request.contextTokens = uint32_t(options->context);
    if (options->chunk > 0)
      request.maxStepTokens = uint32_t(options->chunk);
    request.memoryBudget = options->memory_budget;
    if (options->weights_dir)
      request.weights.weightsDir = options->weights_dir;
    if (options->compile.verify_weights)
      request.weights.verify = HashMemo::Rehash;

    if (auto progress = options->compile.progress)
      request.progress = [progress, user = options->compile.progress_user](std::string_view stage,
                                                                           double fraction) {
        return progress(user, std::string(stage).c_str(), fraction) == 0;
      };

    FUSEBOX_ASSIGN(std::string path, api::planPath(model, options->compile));
    FUSEBOX_ASSIGN(plan::PlanReader reader, plan::PlanReader::open(path));
    auto opened = std::make_unique<fusebox_session>();
    opened->name = model;
    FUSEBOX_ASSIGN(opened->text.assets, api::planTextAssets(reader));
    // A large tokenizer takes longer to load than the weights to map: both at once.
    if (opened->text.assets.kind != TokenizerKind::None)
      opened->text.pending = openTokenizerAsync(opened->text.assets);
    FUSEBOX_ASSIGN(opened->session, Session::open(reader, request));
    *session = opened.release();
    return {};
  });
}
