// fusebox: compile, run and examine language models from the command line. Exit codes: docs/cli.md.
#include "tools/fusebox/Cli.h"

#include <cstdio>
#include <exception>

using namespace fusebox;

int main(int argc, char **argv) {
  CLI::App app("Fusebox compiles a language model to a plan, proves which fusions are safe on its weights, "
               "and runs it.",
               "fusebox");
  app.set_version_flag("--version", std::string("fusebox ") + fusebox_version());
  app.require_subcommand(1);
  app.footer("Exit codes: 0 success, 1 and 2 verdicts of check, 10 usage, 11 model or file unusable,\n"
             "12 resource missing, 13 internal error. `fusebox COMMAND --help` shows examples.");
  cli::addCheckCommand(app);
  cli::addRebalanceCommand(app);
  cli::addCompileCommand(app);
  cli::addRunCommand(app);
  cli::addChatCommand(app);
  cli::addInspectCommand(app);
  cli::addBenchCommand(app);
  cli::addDevicesCommand(app);
  cli::addTokenizeCommand(app);
  cli::addLogitsCommand(app);
  cli::installInterruptHandler();

  try {
    app.parse(argc, argv);
    if (std::fflush(stdout) != 0 || std::ferror(stdout))
      cli::fail(FUSEBOX_RESOURCE, "standard output can't be written; is the disk full?");
    return 0;
  } catch (const CLI::ParseError &error) {
    int code = app.exit(error);
    return code == 0 ? 0 : FUSEBOX_USAGE;
  } catch (const cli::Exit &exit) {
    return exit.code;
  } catch (const std::exception &error) {
    std::fprintf(stderr, "fusebox: internal error: %s\n", error.what());
    return FUSEBOX_INTERNAL;
  }
}
