// fusebox inspect: what is in a model or plan: IR of any phase, memory plan, kernels, weights, metadata.
#include "tools/fusebox/Emit.h"

#include <cstdio>
#include <nlohmann/json.hpp>

using namespace fusebox;
using nlohmann::ordered_json;

namespace {
struct InspectCommand {
  cli::CompileFlags flags;
  std::string model, phase, assembly, output;
  std::vector<std::string> sections = {"model", "memory", "kernels", "weights", "remarks", "metadata"};
  bool json = false, verdicts = false;
  cli::EmitFlags emit;

  void run() const {
    if (emit.asked())
      return emit.run(model, flags, output);
    fusebox_compile_options options = flags.options();
    char *text = nullptr;
    if (!phase.empty())
      cli::check(fusebox_phase_ir(model.c_str(), phase.c_str(), &options, &text));
    else if (!assembly.empty())
      cli::check(fusebox_kernel_asm(model.c_str(), assembly.c_str(), &options, &text));
    else
      cli::check(fusebox_describe(model.c_str(), &options, &text));
    cli::endProgress();
    std::string content = cli::takeString(text);
    if (!phase.empty() || !assembly.empty() || json)
      std::printf("%s%s", content.c_str(), content.ends_with('\n') ? "" : "\n");
    else
      print(ordered_json::parse(content));
    if (verdicts)
      printVerdicts(phase.empty() ? "  " : "// ");
  }

  /// The plan's verdicts as a table, each line after `margin`: behind IR as comments, so that it can be
  /// parsed again.
  void printVerdicts(const char *margin) const {
    fusebox_compile_options options = flags.options();
    char *text = nullptr;
    cli::check(fusebox_describe(model.c_str(), &options, &text));
    cli::endProgress();
    ordered_json all = ordered_json::parse(cli::takeString(text)).value("verdicts", ordered_json());
    if (all.empty())
      cli::fail(FUSEBOX_USAGE, "--verdicts: the plan has none; it was compiled with --fusion=none");
    std::printf("%sverdicts\n%s%5s %-14s %-9s %-5s %-8s %10s %10s %10s %10s  reason\n", margin, margin,
                "layer", "node", "contract", "legal", "basis", "range", "worst", "expected", "KL");
    for (const ordered_json &entry : all) {
      auto name = [&](const char *key) { return entry.at(key).get<std::string>(); };
      auto number = [&](const char *key) {
        char digits[32] = "-";
        if (!entry.at(key).is_null())
          std::snprintf(digits, sizeof digits, "%.4g", entry.at(key).get<double>());
        return std::string(digits);
      };
      int64_t layer = entry.at("layer");
      std::printf("%s%5s %-14s %-9s %-5s %-8s %10s %10s %10s %10s  %s\n", margin,
                  layer < 0 ? "-" : std::to_string(layer).c_str(), name("node").c_str(),
                  name("contract").c_str(), entry.at("legal").get<bool>() ? "yes" : "no",
                  name("basis").c_str(), number("range").c_str(), number("deviation_worst").c_str(),
                  number("deviation_expected").c_str(), number("kl").c_str(), name("reason").c_str());
    }
  }

  void print(const ordered_json &description) const {
    for (const std::string &name : sections)
      section(name, description);
  }

  /// A section is an object (key: value lines) or a list (a line an entry).
  static void section(const std::string &name, const ordered_json &description) {
    auto found = description.find(name);
    if (found == description.end())
      return;
    std::printf("%s%s\n", name.c_str(), found->empty() ? ": none" : "");
    if (found->is_object())
      for (const auto &[key, value] : found->items())
        std::printf("  %-24s %s\n", key.c_str(), plain(value).c_str());
    else
      for (const ordered_json &entry : *found) {
        std::string line;
        if (entry.is_object())
          for (const auto &[key, value] : entry.items())
            line += (line.empty() ? "" : "  ") + (key == "name" ? plain(value) : key + " " + plain(value));
        else
          line = plain(entry);
        std::printf("  %s\n", line.c_str());
      }
    std::printf("\n");
  }

  static std::string plain(const ordered_json &value) {
    return value.is_string() ? value.get<std::string>() : value.dump();
  }
};
} // namespace

void cli::addInspectCommand(CLI::App &app) {
  auto command = std::make_shared<InspectCommand>();
  CLI::App &sub = *app.add_subcommand("inspect", "Show a plan or model: IR, memory, kernels, weights");
  sub.add_option("MODEL,-m,--model", command->model, "plan, snapshot folder, GGUF file or org/name")
      ->required();
  auto *phase =
      sub.add_option("--phase", command->phase,
                     "print the IR after import, bind-weights, analyze, fuse, select-kernels, plan-memory or "
                     "schedule");
  auto *assembly = sub.add_option("--asm", command->assembly,
                                  "print the machine code of a kernel (a name from --show kernels)");
  phase->excludes(assembly);
  CLI::Option *emit = command->emit.add(sub);
  sub.add_option("-o,--output", command->output, "with --emit: a folder")->needs(emit);
  sub.add_option("--show", command->sections,
                 "which parts: model, memory, kernels, weights (with recipes), remarks, metadata (how it was "
                 "compiled)")
      ->delimiter(',')
      ->check(CLI::IsMember(command->sections));
  sub.add_flag("--json", command->json, "everything as JSON");
  sub.add_flag("--verdicts", command->verdicts,
               "also what the analysis says of each layer, node and contract")
      ->excludes(assembly);
  command->flags.add(sub);
  sub.footer("Examples:\n  fusebox inspect smollm2.plan\n  fusebox inspect ./model --phase import\n"
             "  fusebox inspect ./model --phase fuse --verdicts\n"
             "  fusebox inspect smollm2.plan --asm linear.576x1536\n"
             "  fusebox inspect gpu.plan --emit=ptx");
  sub.callback([command] { command->run(); });
}
