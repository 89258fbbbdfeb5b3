// Opening sessions: a plan, or a model that is compiled into the cache first.
#include "api/Compile.h"

#include <cstdlib>

using namespace fusebox;

void fusebox_open_options_init(fusebox_open_options *options) {
  *options = {};
  options->size = sizeof *options;
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

static Result<SessionOptions> sessionOptions(const fusebox_open_options &options,
                                             const fusebox_compile_options &compile) {
  SessionOptions request;
  FUSEBOX_TRY(chooseDevice(options.device, request));
  if (options.threads < 0 || options.context < 0 || options.chunk < 0 || options.slots < 0 ||
      options.logits_rows < 0)
    return usageError("fusebox_open: threads, context, chunk, slots and logits_rows can't be negative");
  request.threads = uint32_t(options.threads);
  request.contextTokens = uint32_t(options.context);
  if (options.chunk > 0)
    request.maxStepTokens = uint32_t(options.chunk);
  if (options.slots > 0)
    request.slots = uint32_t(options.slots);
  request.maxLogitsRows = uint32_t(options.logits_rows);
  request.memoryBudget = options.memory_budget;
  if (options.weights_dir)
    request.weights.weightsDir = options.weights_dir;
  if (compile.verify_weights)
    request.weights.verify = HashMemo::Rehash;
  if (auto progress = options.progress)
    request.progress = [progress, user = options.progress_user](std::string_view stage, double fraction) {
      return progress(user, std::string(stage).c_str(), fraction) == 0;
    };
  return request;
}

fusebox_status fusebox_open(const char *model, const fusebox_open_options *given, fusebox_session **session) {
  return api::guarded([&]() -> Result<void> {
    FUSEBOX_ASSIGN(fusebox_open_options options, api::complete(given, fusebox_open_options_init));
    FUSEBOX_ASSIGN(fusebox_compile_options compile,
                   api::complete(options.compile, fusebox_compile_options_init));
    FUSEBOX_ASSIGN(SessionOptions request, sessionOptions(options, compile));
    FUSEBOX_ASSIGN(std::string path, api::planPath(model, compile));
    auto opened = std::make_unique<fusebox_session>();
    opened->name = model;
    opened->progress = options.progress;
    opened->progressUser = options.progress_user;
    if (!opened->report("loading", -1))
      return resourceError("opening was cancelled");
    FUSEBOX_ASSIGN(plan::PlanReader reader, plan::PlanReader::open(path));
    FUSEBOX_ASSIGN(opened->text.assets, api::planTextAssets(reader));
    // A large tokenizer takes longer to load than the weights to map: both at once.
    if (opened->text.assets.kind != TokenizerKind::None)
      opened->text.pending = openTokenizerAsync(opened->text.assets);
    FUSEBOX_ASSIGN(opened->session, Session::open(reader, request));
    *session = opened.release();
    return {};
  });
}
