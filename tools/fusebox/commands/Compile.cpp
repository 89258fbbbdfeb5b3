// fusebox compile: a model to a plan file, or to the IR after one phase.
#include "support/AtomicFile.h"
#include "tools/fusebox/Emit.h"

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

using namespace fusebox;

namespace {
struct CompileCommand {
  cli::CompileFlags flags;
  std::string model, output, stopAfter, dumpPhases;
  bool remarks = false;
  cli::EmitFlags emit;

  void run() const {
    if (emit.asked())
      return emit.run(model, flags, output);
    if (!stopAfter.empty())
      return writePhase();
    if (output.empty())
      cli::fail(FUSEBOX_USAGE, "compile: -o FILE is needed, e.g. -o model.plan");
    fusebox_compile_options options = flags.options();
    options.dump_phases = dumpPhases.empty() ? nullptr : dumpPhases.c_str();
    auto start = std::chrono::steady_clock::now();
    cli::check(fusebox_compile(model.c_str(), output.c_str(), &options));
    cli::endProgress();
    double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::error_code ignored;
    std::printf("%s: %.1f MB, compiled in %.2f s\n", output.c_str(),
                double(std::filesystem::file_size(output, ignored)) / 1e6, seconds);
    if (remarks)
      printRemarks();
  }

  void writePhase() const {
    fusebox_compile_options options = flags.options();
    options.dump_phases = dumpPhases.empty() ? nullptr : dumpPhases.c_str();
    char *text = nullptr;
    cli::check(fusebox_phase_ir(model.c_str(), stopAfter.c_str(), &options, &text));
    cli::endProgress();
    std::string ir = cli::takeString(text);
    if (output.empty() || output == "-")
      std::fwrite(ir.data(), 1, ir.size(), stdout);
    else if (Result<void> written = writeFileAtomically(output, std::as_bytes(std::span(ir))); !written)
      cli::fail(fusebox_status(written.error().kind), written.error().message);
  }

  void printRemarks() const {
    char *text = nullptr;
    fusebox_compile_options options = flags.options();
    cli::check(fusebox_describe(output.c_str(), &options, &text));
    nlohmann::json description = nlohmann::json::parse(cli::takeString(text));
    for (const auto &remark : description.value("remarks", nlohmann::json::array()))
      std::printf("remark: %s\n",
                  remark.is_string() ? remark.get<std::string>().c_str() : remark.dump().c_str());
  }
};
} // namespace

void cli::addCompileCommand(CLI::App &app) {
  auto command = std::make_shared<CompileCommand>();
  CLI::App &sub = *app.add_subcommand("compile", "Compile a model to a plan file");
  sub.add_option("MODEL,-m,--model", command->model,
                 "snapshot folder, GGUF file or org/name in the local cache")
      ->required();
  sub.add_option("-o,--output", command->output,
                 "the plan file (with --stop-after: the IR, - for standard output; with --emit: a folder)");
  command->flags.add(sub);
  sub.add_flag("--embed-weights", command->flags.embedWeights, "pack the weights into the plan");
  sub.add_option("--stop-after", command->stopAfter, "write the IR after this phase instead of a plan");
  sub.add_option("--start-from", command->flags.startFrom,
                 "an IR file that --stop-after or --dump-phases wrote");
  sub.add_option("--dump-phases", command->dumpPhases, "write the IR after each phase into this folder");
  command->emit.add(sub);
  sub.add_flag("--remarks", command->remarks, "print what was fused or refused, and why");
  sub.footer("Examples:\n  fusebox compile ./SmolLM2-135M-Instruct -o smollm2.plan\n"
             "  fusebox compile model.gguf --weights=bf16 -o model.plan\n"
             "  fusebox compile ./model --stop-after=import -o -\n"
             "  fusebox compile ./model --target cuda:sm_90a,cpu -o model.plan\n"
             "  fusebox compile ./model --target cuda:sm_90a --emit=ptx -o ptx/");
  sub.callback([command] { command->run(); });
}
