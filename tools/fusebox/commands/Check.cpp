// fusebox check
#include "tools/fusebox/Cli.h"

#include "check/RunCheck.h"
#include "check/measure/MeasureModel.h"

#include <iostream>
#include <memory>

using namespace fusebox;

namespace {

struct CheckFlags {
  CheckRun run;
  std::string policy, rounding = "sdpa", activations, format = "text", text, ids;
  double threshold = 0, ratioLimit = 0, amplificationLimit = 0;
  bool noCache = false;
};

void addLimits(CLI::App &command, CheckFlags &flags) {
  command.add_option("--threshold", flags.threshold, "a norm weight above it makes its layer extreme")
      ->check(CLI::PositiveNumber);
  command.add_option("--ratio-limit", flags.ratioLimit, "a max/median above it makes its layer problematic")
      ->check(CLI::PositiveNumber);
  command
      .add_option("--amplification-limit", flags.amplificationLimit,
                  "amplification at which its part of the score is 0")
      ->check(CLI::PositiveNumber);
  command
      .add_option("--policy", flags.policy,
                  "what decides: score is the default where the model has q and k norms")
      ->check(CLI::IsMember({"score", "certified"}));
  command.add_option("--profile", flags.run.options.profiles, "limits by name or YAML file; may be repeated");
  command.add_option("--rounding", flags.rounding, "the reference whose rounding points count")
      ->check(CLI::IsMember({"sdpa", "eager"}))
      ->capture_default_str();
  command.add_option("--dtype", flags.activations, "type of activations; default: the model's own")
      ->check(CLI::IsMember({"bf16", "f16", "f32"}));
}

void addOutputs(CLI::App &command, CheckFlags &flags) {
  command.add_option("--export", flags.run.exports,
                     "also write the report: .json, .md (fits a model card), .csv, .txt");
  command.add_option("--format", flags.format, "form of what is printed")
      ->check(CLI::IsMember({"text", "json", "md", "csv"}))
      ->capture_default_str();
  command.add_option("--contribute", flags.run.contribute,
                     "write the result's entry into this database file");
  command.add_option("--database", flags.run.databases,
                     "merge database files or folders; conflicts are shown");
  auto *text =
      command.add_option("--measure", flags.text,
                         "run the model on this text file (- for standard input), and let what was measured "
                         "decide where weights alone give an expectation only");
  command.add_option("--measure-ids", flags.ids, "the same on token ids: 1,504,… or a file of them")
      ->excludes(text);
  command.add_flag("-v,--verbose", flags.run.verbose, "every layer and node, and guidance");
  command.add_flag("-q,--quiet", flags.run.quiet, "print nothing: the exit code says it");
  command.add_flag("--verify-weights", flags.run.options.verifyWeights, "hash the weight files anew");
  command.add_flag("--no-cache", flags.noCache, "neither read nor write cached results");
  command.add_option("-t,--threads", flags.run.options.threads, "worker threads; 0: one a core")
      ->check(CLI::Range(0, 1024));
}

/// Measures on the text, tokenised by the model's own tokenizer, or on the ids.
Result<void> measure(const CheckFlags &flags, CheckReport &report) {
  std::vector<int32_t> ids;
  if (flags.ids.empty()) {
    fusebox_tokenizer *opened = nullptr;
    cli::check(fusebox_open_tokenizer(report.path.c_str(), &opened));
    ids = cli::tokenize(cli::Tokenizer(opened).get(), cli::readFile(flags.text), true);
  } else {
    ids = cli::parseIds(flags.ids);
  }
  const CheckOptions &options = flags.run.options;
  FUSEBOX_ASSIGN(Measurement measured, measureModel(report.path, ids, options.rounding, options.activations));
  applyMeasurement(measured, report);
  return {};
}

int runFlags(const CLI::App &command, CheckFlags &flags) {
  CheckOptions &options = flags.run.options;
  if (command.count("--threshold"))
    options.threshold = flags.threshold;
  if (command.count("--ratio-limit"))
    options.ratioLimit = flags.ratioLimit;
  if (command.count("--amplification-limit"))
    options.amplificationLimit = flags.amplificationLimit;
  if (!flags.policy.empty())
    options.policy = flags.policy == "score" ? CheckPolicy::Score : CheckPolicy::Certified;
  options.rounding = flags.rounding == "eager" ? AttentionRounding::Eager : AttentionRounding::Sdpa;
  if (!flags.activations.empty())
    options.activations = dtypeFromName(flags.activations);
  options.useCache = !flags.noCache;
  if (!flags.text.empty() || !flags.ids.empty())
    flags.run.measure = [&flags](CheckReport &report) { return measure(flags, report); };
  if (flags.format != "text")
    flags.run.format = flags.format == "json"
                           ? CheckFormat::Json
                           : (flags.format == "md" ? CheckFormat::Markdown : CheckFormat::Csv);
  return runCheck(flags.run, std::cout, std::cerr);
}

} // namespace

void cli::addCheckCommand(CLI::App &app) {
  CLI::App *command = app.add_subcommand("check", "Is fusion safe on these weights? Report and exit code.");
  auto flags = std::make_shared<CheckFlags>();
  command
      ->add_option("model", flags->run.models,
                   "snapshot folders, GGUF files, or org/name; several are compared")
      ->required();
  addLimits(*command, *flags);
  addOutputs(*command, *flags);
  command->footer("Exit codes: 0 compatible, 1 warning, 2 incompatible, 10 and above errors.\n\n"
                  "Examples:\n"
                  "  fusebox check Qwen/Qwen3-0.6B\n"
                  "  fusebox check ./model --policy certified --verbose\n"
                  "  fusebox check ./model --measure chapter.txt --verbose\n"
                  "  fusebox check a.gguf b/ c/ --export table.csv\n"
                  "  fusebox check ./model --quiet || echo 'standard kernels only'");
  command->callback([command, flags] {
    if (int code = runFlags(*command, *flags))
      throw Exit{code};
  });
}
