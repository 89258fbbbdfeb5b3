// What the fusion policy makes of a model, said before it is compiled or run.
#include "tools/fusebox/Cli.h"

#include <cstdio>
#include <nlohmann/json.hpp>

using namespace fusebox;

void cli::warnAboutFusion(const std::string &model, const CompileFlags &flags) {
  std::string policy = flags.forceFused ? "force" : flags.fusion;
  if (policy == "none")
    return;
  nlohmann::json options = {{"fusion", policy},
                            {"rounding", flags.rounding},
                            {"activations", flags.dtype},
                            {"verify_weights", flags.verifyWeights}};
  char *text = nullptr;
  fusebox_status status = fusebox_check(model.c_str(), options.dump().c_str(), &text);
  // A plan has been checked when it was compiled; a model that can't be read is reported by what reads it
  // next.
  if (status >= FUSEBOX_USAGE)
    return;
  nlohmann::json report = nlohmann::json::parse(takeString(text));
  for (const auto &warning : report.at("fusion").at("warnings"))
    std::fprintf(stderr, "fusebox: %s\n", warning.get<std::string>().c_str());
}
