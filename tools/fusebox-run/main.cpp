// fusebox-run: text from a plan, with the runtime alone: no compiler, no Python.
//
// The full tool is `fusebox`; this one is what a plan needs where it is deployed.
#include "runtime/generate/Generate.h"
#include "runtime/session/Sequence.h"
#include "runtime/text/ChatTemplate.h"
#include "runtime/text/Tokenizer.h"

#include <CLI/CLI.hpp>
#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <future>
#include <random>
#include <unistd.h>

using namespace fusebox;

namespace {

std::atomic<bool> interrupted = false;

struct Arguments {
  std::string plan, prompt, ids;
  bool raw = false, printIds = false, seedGiven = false;
  GenerateOptions generate;
  SessionOptions session;
};

/// One line on a terminal while kernels are compiled for this GPU; wiped at the end.
bool showProgress(std::string_view stage, double fraction) {
  if (isatty(STDERR_FILENO))
    std::fprintf(stderr, fraction < 1 ? "\r\033[K%.*s %3.0f %%" : "\r\033[K", int(stage.size()), stage.data(),
                 fraction * 100);
  return !interrupted;
}

void declare(CLI::App &app, Arguments &a) {
  app.footer("Examples:\n  fusebox-run model.plan -p \"What is a fuse?\"\n"
             "  fusebox-run model.plan --ids 1,504,2 -n 16 --temp 0 --print-ids");
  app.add_option("PLAN,-m,--model", a.plan, "Plan file, made by `fusebox compile`")->required();
  auto *text = app.add_option("-p,--prompt", a.prompt, "Prompt; a chat model's template is put around it");
  auto *ids = app.add_option("--ids", a.ids, "Token ids in place of text: 1,504,2");
  text->excludes(ids);
  app.add_flag("--raw", a.raw, "No chat template: continue the prompt as it is");
  app.add_flag("--print-ids", a.printIds, "Print token ids, one a line, in place of text");
  app.add_option("-n,--predict", a.generate.maxTokens,
                 "Tokens to generate; -1: until the text or the context ends")
      ->capture_default_str();
  app.add_option("-c,--ctx-size", a.session.contextTokens,
                 "Context in tokens; 0: the model's, as memory allows");
  app.add_option("-b,--batch-size", a.session.maxStepTokens, "Most tokens of a prefill step")
      ->capture_default_str();
  app.add_option("-t,--threads", a.session.threads, "Threads; 0: all CPUs");
  app.add_option("--temp", a.generate.sampling.temperature, "Temperature; 0: greedy")->capture_default_str();
  app.add_option("--top-k", a.generate.sampling.topK, "Keep the k likeliest; 0: all")->capture_default_str();
  app.add_option("--top-p", a.generate.sampling.topP, "Keep this share of probability")
      ->capture_default_str();
  app.add_option("--min-p", a.generate.sampling.minP, "Least share of the likeliest")->capture_default_str();
  app.add_option("--repeat-penalty", a.generate.sampling.repeatPenalty, "1: none")->capture_default_str();
  app.add_option("-s,--seed", a.generate.sampling.seed, "Same seed, same text; random if not given");
  app.add_option("--stop", a.generate.stops, "Stop at this text (may be repeated)");
  app.add_flag("--ignore-eos", a.generate.ignoreEos, "Go on after the end of the text");
  app.add_option("--weights-dir", a.session.weights.weightsDir, "Folder to look for the weight files in");
  app.add_flag_callback(
      "--verify-weights", [&a] { a.session.weights.verify = HashMemo::Rehash; },
      "Read and hash all weights, even if they were verified before");
}

Result<std::vector<int32_t>> parseIds(const std::string &list) {
  std::vector<int32_t> ids;
  for (const char *at = list.data(), *end = at + list.size(); at != end;) {
    int32_t id;
    auto [next, failure] = std::from_chars(at, end, id);
    if (failure != std::errc() || (next != end && *next != ','))
      return usageError("--ids " + list + ": expected numbers with commas between, like 1,504,2");
    ids.push_back(id);
    at = next == end ? next : next + 1;
  }
  return ids;
}

/// What a plan knows about text. The tokenizer opens on a thread of its own, beside the weights.
struct Text {
  TextAssets assets;
  std::future<Result<Tokenizer>> opening;
  std::optional<Tokenizer> tokenizer;
  std::vector<int32_t> eosIds;
};

Result<Text> readText(const plan::PlanReader &plan) {
  Text text;
  const plan::Section *section = plan.find(plan::SectionKind::TextAssets);
  if (!section)
    return text;
  FUSEBOX_ASSIGN(std::vector<std::byte> bytes, plan.read(*section));
  FUSEBOX_ASSIGN(text.assets, parseTextAssets(bytes));
  if (text.assets.kind != TokenizerKind::None)
    text.opening = openTokenizerAsync(text.assets);
  return text;
}

Result<void> finishText(Text &text) {
  if (!text.opening.valid()) {
    FUSEBOX_ASSIGN(GenerationDefaults defaults, readGenerationDefaults(text.assets));
    text.eosIds = defaults.eosIds;
    return {};
  }
  FUSEBOX_ASSIGN(text.tokenizer, text.opening.get());
  FUSEBOX_ASSIGN(text.eosIds, endOfTextIds(text.assets, *text.tokenizer));
  return {};
}

Result<std::vector<int32_t>> promptIds(const Arguments &a, const Text &text) {
  if (!a.ids.empty())
    return parseIds(a.ids);
  if (!text.tokenizer)
    return usageError(a.plan + ": the plan holds no tokenizer; give token ids with --ids");
  if (a.raw || text.assets.chatTemplate.empty())
    return text.tokenizer->encode(a.prompt, true);
  FUSEBOX_ASSIGN(std::string rendered, renderChat(text.assets, {{"user", a.prompt}}));
  return text.tokenizer->encode(rendered, false);
}

void reportSpeed(const Generation &g) {
  double decoded = double(g.generatedTokens) - 1;
  std::fprintf(stderr, "\nprompt %u tokens in %.2f s; %u tokens generated", g.promptTokens, g.prefillSeconds,
               g.generatedTokens);
  if (decoded > 0 && g.decodeSeconds > 0)
    std::fprintf(stderr, ", %.1f tokens/s", decoded / g.decodeSeconds);
  std::fprintf(stderr, "; ended by %s\n", finishReasonName(g.reason));
}

Result<FinishReason> run(Arguments &a) {
  if (a.prompt.empty() && a.ids.empty())
    return usageError("a prompt is needed: -p TEXT or --ids 1,2,3");
  FUSEBOX_ASSIGN(plan::PlanReader plan, plan::PlanReader::open(a.plan));
  FUSEBOX_ASSIGN(Text text, readText(plan));
  a.session.progress = showProgress;
  FUSEBOX_ASSIGN(std::unique_ptr<Session> session, Session::open(plan, a.session));
  FUSEBOX_TRY(finishText(text));
  FUSEBOX_ASSIGN(std::vector<int32_t> prompt, promptIds(a, text));
  if (!a.seedGiven)
    a.generate.sampling.seed = std::random_device()();

  Sequence sequence(*session);
  bool ids = a.printIds || !text.tokenizer;
  auto onToken = [&](int32_t id, const std::string &piece) {
    if (ids && id >= 0)
      std::printf("%d\n", id);
    else if (!ids)
      std::fwrite(piece.data(), 1, piece.size(), stdout);
    return std::fflush(stdout) == 0 && !interrupted.load();
  };
  FUSEBOX_ASSIGN(Generation generation, generate(sequence, text.tokenizer ? &*text.tokenizer : nullptr,
                                                 text.eosIds, prompt, a.generate, onToken));
  if (!ids)
    std::printf("\n");
  if (std::fflush(stdout) != 0 || std::ferror(stdout))
    return resourceError("the text can't be written to standard output; is the disk full?");
  reportSpeed(generation);
  return generation.reason;
}

} // namespace

int main(int argc, char **argv) {
  CLI::App app("Generates text from a Fusebox plan", "fusebox-run");
  Arguments arguments;
  declare(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    int code = app.exit(error);
    return code == 0 ? 0 : int(ErrorKind::Usage);
  }
  arguments.seedGiven = app.count("--seed") > 0;
  // The first Ctrl-C ends the text after the current step, a second one the program.
  std::signal(SIGINT, [](int) {
    interrupted = true;
    std::signal(SIGINT, SIG_DFL);
  });
  auto outcome = run(arguments);
  if (!outcome) {
    std::fprintf(stderr, "fusebox-run: %s\n", outcome.error().message.c_str());
    return int(outcome.error().kind);
  }
  constexpr int endedBySigint = 130;
  return *outcome == FinishReason::Cancelled ? endedBySigint : 0;
}
