#include "tools/fusebox/Generate.h"

#include <cstdio>
#include <cstring>
#include <random>

using namespace fusebox;

void cli::GenerateFlags::add(CLI::App &command) {
  command.add_option("-n,--predict", maxTokens,
                     "most tokens to generate; -1: until the model stops or the context is full");
  command.add_option("--temp", temperature, "temperature; 0: greedy")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  command.add_option("--top-k", topK, "keep the k most likely tokens; 0: all")
      ->check(CLI::Range(0, 1 << 30))
      ->capture_default_str();
  command.add_option("--top-p", topP, "keep the smallest set of this probability")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command.add_option("--min-p", minP, "keep tokens of this share of the best one's probability")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command.add_option("--repeat-penalty", repeatPenalty, "penalty on recent tokens; 1: none")
      ->check(CLI::Range(0.01, 100.0))
      ->capture_default_str();
  command.add_option("--repeat-last-n", repeatLast, "how many recent tokens it sees")
      ->check(CLI::Range(0, 1 << 30))
      ->capture_default_str();
  command.add_option("-s,--seed", seed, "same seed, same text; -1: a new one each time")
      ->capture_default_str();
  command.add_flag("--ignore-eos", ignoreEos, "go on after an end-of-text token");
  command.add_option("--stop", stops, "stop at this string (may be given several times)")
      ->allow_extra_args(false);
}

namespace {
struct Stream {
  cli::Answer answer;
  bool show;

  static int onToken(void *user, int32_t id, const char *text) {
    auto &self = *static_cast<Stream *>(user);
    if (id >= 0)
      self.answer.ids.push_back(id);
    if (text) {
      self.answer.text += text;
      if (self.show && *text) {
        cli::endProgress();
        std::fputs(text, stdout);
        std::fflush(stdout);
      }
    }
    return cli::interrupted();
  }
};
} // namespace

cli::Answer cli::generate(fusebox_session *session, const std::vector<int32_t> &prompt,
                          const GenerateFlags &flags, bool stream) {
  fusebox_generate_options options;
  fusebox_generate_options_init(&options);
  options.max_tokens = flags.maxTokens;
  options.temperature = flags.temperature;
  options.top_k = flags.topK;
  options.top_p = flags.topP;
  options.min_p = flags.minP;
  options.repeat_penalty = flags.repeatPenalty;
  options.repeat_last = flags.repeatLast;
  options.seed = flags.seed >= 0 ? uint64_t(flags.seed) : std::random_device()();
  options.ignore_eos = flags.ignoreEos;
  options.certified_lead = flags.certifiedLead;
  std::vector<const char *> stops;
  for (const std::string &stop : flags.stops)
    stops.push_back(stop.c_str());
  options.stops = stops.data();
  options.stop_count = int32_t(stops.size());

  Stream state{{}, stream};
  check(fusebox_generate(session, prompt.data(), int32_t(prompt.size()), &options, Stream::onToken, &state,
                         &state.answer.generation));
  endProgress();
  return std::move(state.answer);
}

void cli::printClosingLine(const Answer &answer) {
  std::fflush(stdout); // the text comes first where both streams are one file
  const fusebox_generation &g = answer.generation;
  auto rate = [](int32_t tokens, double seconds) { return seconds > 0 ? tokens / seconds : 0; };
  // The first generated token comes out of the prefill.
  std::fprintf(stderr, "[prompt %d tokens, %.1f tok/s · generated %d tokens, %.1f tok/s", g.prompt_tokens,
               rate(g.prompt_tokens, g.prefill_seconds), g.generated_tokens,
               rate(g.generated_tokens - 1, g.decode_seconds));
  if (!std::strcmp(g.finish_reason, "context"))
    std::fprintf(stderr, " · the context is full; a larger one: -c N");
  else if (std::strcmp(g.finish_reason, "stop"))
    std::fprintf(stderr, " · ended by %s", g.finish_reason);
  std::fprintf(stderr, "]\n");
}
