// Text generation as `run` and `chat` need it: flags, streaming to the terminal, the closing line.
#pragma once

#include "tools/fusebox/Cli.h"

namespace fusebox::cli {

/// Sampling and stopping; flags are llama.cpp's.
struct GenerateFlags {
  int32_t maxTokens = -1, topK = 40, repeatLast = 64;
  double temperature = 0.8, topP = 0.95, minP = 0.05, repeatPenalty = 1.0;
  int64_t seed = -1;
  bool ignoreEos = false;
  std::vector<std::string> stops;
  double certifiedLead = -1; ///< see fusebox_generate_options

  void add(CLI::App &command);
};

/// One answer: its ids, its text, and how it ended.
struct Answer {
  std::vector<int32_t> ids;
  std::string text;
  fusebox_generation generation = {};
};

/// Continues slot 0 of `session` with `prompt`. Pieces go to standard output as they come when `stream` is
/// set.
Answer generate(fusebox_session *session, const std::vector<int32_t> &prompt, const GenerateFlags &flags,
                bool stream);

/// Prints speed and, where it wasn't an EOS, why the text ended, on standard error.
void printClosingLine(const Answer &answer);

} // namespace fusebox::cli
