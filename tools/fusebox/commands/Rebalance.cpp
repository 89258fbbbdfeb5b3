// fusebox rebalance
#include "tools/fusebox/Cli.h"

#include "check/Rebalance.h"

#include <cstdio>
#include <memory>

using namespace fusebox;

namespace {

struct RebalanceFlags {
  std::string model, out;
};

void run(const RebalanceFlags &flags) {
  auto result = rebalanceModel(flags.model, flags.out);
  if (!result)
    cli::fail(fusebox_status(result.error().kind), result.error().message);
  std::printf("%s: %lld rotary pairs moved\n", flags.out.c_str(), (long long)result->balance.moved());
  if (result->before.applicable())
    std::printf("heuristic score: %.3f (%s) -> %.3f (%s)\n", result->before.score,
                std::string(statusName(result->before.status)).c_str(), result->after.score,
                std::string(statusName(result->after.status)).c_str());
  if (!result->note.empty())
    std::printf("%s\n", result->note.c_str());
}

} // namespace

void cli::addRebalanceCommand(CLI::App &app) {
  CLI::App *command =
      app.add_subcommand("rebalance", "Level q and k by powers of two; outputs keep their bits.");
  auto flags = std::make_shared<RebalanceFlags>();
  command->add_option("model", flags->model, "snapshot folder or org/name")->required();
  command->add_option("-o,--output", flags->out, "new folder for the rebalanced model")->required();
  command->footer(
      "Example:\n  fusebox rebalance Qwen/Qwen3-0.6B -o qwen3-levelled && fusebox check qwen3-levelled");
  command->callback([flags] { run(*flags); });
}
