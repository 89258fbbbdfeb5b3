// --emit of compile and inspect: what was generated for a model's GPU kernels.
#pragma once

#include "tools/fusebox/Cli.h"

namespace fusebox::cli {

struct EmitFlags {
  std::string form, kernel;

  /// Adds --emit and --kernel; returns the former.
  CLI::Option *add(CLI::App &command);
  bool asked() const { return !form.empty(); }
  /// Prints the code (output empty or "-"), or writes a file for each kernel into the folder `output`.
  void run(const std::string &model, const CompileFlags &flags, const std::string &output) const;
};

} // namespace fusebox::cli
