#include "tools/fusebox/Cli.h"

#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <unistd.h>

using namespace fusebox;

void cli::fail(fusebox_status status, const std::string &message) {
  endProgress();
  std::fprintf(stderr, "fusebox: %s\n", message.c_str());
  throw Exit{status};
}

static std::atomic<bool> interruptSeen = false;

bool cli::interrupted() { return interruptSeen.load(std::memory_order_relaxed); }

void cli::check(fusebox_status status) {
  if (status == FUSEBOX_RESOURCE && interrupted())
    endInterrupted();
  if (status != FUSEBOX_OK)
    fail(status, fusebox_last_error());
}

void cli::endInterrupted() {
  endProgress();
  std::fprintf(stderr, "fusebox: interrupted\n");
  throw Exit{interruptedExitCode};
}

void cli::installInterruptHandler() {
  struct sigaction action = {};
  action.sa_handler = [](int) { interruptSeen.store(true, std::memory_order_relaxed); };
  // The second signal finds the default action: a step that doesn't return can still be killed.
  action.sa_flags = int(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

static bool progressShown = false;

int cli::showProgress(void *, const char *stage, double fraction) {
  if (isatty(STDERR_FILENO)) {
    if (fraction >= 0)
      std::fprintf(stderr, "\r\033[K%s %3.0f %%", stage, fraction * 100);
    else
      std::fprintf(stderr, "\r\033[K%s …", stage);
    std::fflush(stderr);
    progressShown = true;
  }
  return interrupted();
}

void cli::endProgress() {
  if (progressShown)
    std::fprintf(stderr, "\r\033[K");
  progressShown = false;
}

void cli::CompileFlags::add(CLI::App &command) {
  command.add_option("--target", target, "cpu, cpu:x86-64-v3, cuda:sm_90a, …; several with commas")
      ->capture_default_str();
  command.add_option("--dtype", dtype, "type of activations")
      ->check(CLI::IsMember({"bf16", "f32"}))
      ->capture_default_str();
  command.add_option("--weights", weights, "quantised weights as stored, or rounded once to bf16")
      ->check(CLI::IsMember({"native", "bf16"}))
      ->capture_default_str();
  command.add_option("--rounding", rounding, "the reference whose rounding points are kept")
      ->check(CLI::IsMember({"sdpa", "eager"}))
      ->capture_default_str();
  command.add_option("--fusion", fusion, "which fusions are allowed")
      ->check(CLI::IsMember({"certified", "score", "none", "force"}))
      ->capture_default_str();
  command.add_flag("--force-fused", forceFused, "the same as --fusion=force");
  command.add_flag("--activations-int8", activationsInt8,
                   "multiply quantised weights by 8-bit activations: faster, coarser");
  command.add_flag("--verify-weights", verifyWeights, "hash the weight files anew");
}

fusebox_compile_options cli::CompileFlags::options() const {
  fusebox_compile_options options;
  fusebox_compile_options_init(&options);
  options.target = target.c_str();
  options.dtype = dtype.c_str();
  options.weights = weights.c_str();
  options.rounding = rounding.c_str();
  options.fusion = forceFused ? "force" : fusion.c_str();
  options.activations_int8 = activationsInt8;
  options.embed_weights = embedWeights;
  options.verify_weights = verifyWeights;
  options.start_from = startFrom.empty() ? nullptr : startFrom.c_str();
  options.progress = showProgress;
  options.warning = [](void *, const char *line) {
    endProgress();
    std::fprintf(stderr, "fusebox: %s\n", line);
  };
  return options;
}

void cli::OpenFlags::add(CLI::App &command) {
  compile.add(command);
  command.add_option("-t,--threads", threads, "worker threads; 0: one a core")->check(CLI::Range(0, 1024));
  command.add_option("-c,--ctx-size", context, "tokens of KV cache; 0: as the model and memory allow")
      ->check(CLI::Range(0, 1 << 30));
  command.add_option("-b,--batch-size,--chunk", chunk, "most tokens of one prefill step; 0: 512")
      ->check(CLI::Range(0, 1 << 20));
  command.add_option("--memory", memory, "memory budget, e.g. 8G; default: what is free");
  command.add_option("--weights-dir", weightsDir, "look for a plan's weight files here");
  command.add_option("--device", device, "cpu, cuda, cuda:1; default: by the plan");
}

fusebox_open_options cli::OpenFlags::options(const fusebox_compile_options &compileOptions) const {
  fusebox_open_options options;
  fusebox_open_options_init(&options);
  options.compile = &compileOptions;
  options.threads = threads;
  options.context = context;
  options.chunk = chunk;
  options.memory_budget = memory.empty() ? 0 : parseBytes(memory);
  options.weights_dir = weightsDir.empty() ? nullptr : weightsDir.c_str();
  options.device = device.empty() ? nullptr : device.c_str();
  options.progress = showProgress;
  return options;
}

cli::Session cli::openSession(const std::string &model, const OpenFlags &flags) {
  fusebox_compile_options compile = flags.compile.options();
  fusebox_open_options options = flags.options(compile);
  fusebox_session *session = nullptr;
  check(fusebox_open(model.c_str(), &options, &session));
  endProgress();
  return Session(session);
}

std::string cli::takeString(char *text) {
  std::string copy = text;
  fusebox_free(text);
  return copy;
}

std::string cli::dumpJson(const nlohmann::ordered_json &value) {
  return value.dump(-1, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace);
}

std::string cli::readFile(const std::string &path) {
  if (path == "-")
    return {std::istreambuf_iterator<char>(std::cin), {}};
  std::ifstream file(path, std::ios::binary);
  std::string content(std::istreambuf_iterator<char>(file), {});
  if (!file)
    fail(FUSEBOX_USAGE, path + ": cannot be read");
  return content;
}

std::vector<int32_t> cli::parseIds(const std::string &listOrFile) {
  bool isList = listOrFile.find_first_not_of("0123456789, \t\n") == std::string::npos;
  std::string text = isList ? listOrFile : readFile(listOrFile);
  std::vector<int32_t> ids;
  const char *end = text.data() + text.size();
  for (const char *at = text.data(); at != end;) {
    if (*at == ',' || std::isspace(static_cast<unsigned char>(*at))) {
      ++at;
      continue;
    }
    int32_t id;
    auto [next, problem] = std::from_chars(at, end, id);
    if (problem != std::errc() || id < 0)
      fail(FUSEBOX_USAGE, "--ids: '" + std::string(at, std::min(end, at + 12)) +
                              "' is not a token id; give numbers with commas, or a file of them");
    ids.push_back(id);
    at = next;
  }
  if (ids.empty())
    fail(FUSEBOX_USAGE, "--ids: no token ids in '" + listOrFile + "'");
  return ids;
}

std::vector<int32_t> cli::tokenize(fusebox_tokenizer *tokenizer, const std::string &text, bool addSpecial) {
  int32_t *ids = nullptr, count = 0;
  check(fusebox_tokenize(tokenizer, text.c_str(), addSpecial, &ids, &count));
  std::vector<int32_t> copy(ids, ids + count);
  fusebox_free(ids);
  return copy;
}

uint64_t cli::parseBytes(const std::string &text) {
  char *unit = nullptr;
  double value = std::strtod(text.c_str(), &unit);
  static const std::string units = "KMGT";
  double factor = 1;
  if (size_t power = *unit ? units.find(char(std::toupper(*unit))) : std::string::npos;
      power != std::string::npos) {
    factor = double(1ull << (10 * (power + 1)));
    ++unit;
    if (std::string_view(unit) == "iB" || std::string_view(unit) == "B")
      unit += std::string_view(unit).size();
  }
  if (unit == text.c_str() || *unit || !(value > 0) || value * factor > 0x1p62)
    fail(FUSEBOX_USAGE, "--memory: '" + text + "' is not a size; write e.g. 8G or 512M");
  return uint64_t(value * factor);
}
