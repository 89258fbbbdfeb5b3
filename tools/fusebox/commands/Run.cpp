// fusebox run: one prompt, one streamed answer.
#include "tools/fusebox/Generate.h"

#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

using namespace fusebox;

namespace {
struct RunCommand {
  cli::OpenFlags open;
  cli::GenerateFlags generation;
  std::string model, prompt, file, ids, system;
  bool raw = false, json = false, stats = false;

  /// The prompt's ids: given, or the text through the chat template where the model has one.
  std::vector<int32_t> promptIds(fusebox_session *session) const {
    if (!ids.empty())
      return cli::parseIds(ids);
    std::string text = file.empty() ? prompt : cli::readFile(file);
    fusebox_tokenizer *tokenizer = nullptr;
    cli::check(fusebox_session_tokenizer(session, &tokenizer));
    fusebox_model_info info;
    cli::check(fusebox_info(session, &info));
    if (raw || !info.has_chat_template)
      return cli::tokenize(tokenizer, text, true);
    nlohmann::json messages = nlohmann::json::array();
    if (!system.empty())
      messages.push_back({{"role", "system"}, {"content", system}});
    messages.push_back({{"role", "user"}, {"content", text}});
    char *rendered = nullptr;
    cli::check(fusebox_apply_chat_template(tokenizer, messages.dump().c_str(), true, &rendered));
    // The template writes the special tokens itself.
    return cli::tokenize(tokenizer, cli::takeString(rendered), false);
  }

  /// Twice the most that rounding at the model's end (final norm and lm_head) can change a logit by, as the
  /// plan's analysis proves it: a token whose logit leads by more is the one that real numbers would give
  /// there.
  double certifiedLead() const {
    fusebox_compile_options options = open.compile.options();
    char *text = nullptr;
    cli::check(fusebox_describe(model.c_str(), &options, &text));
    cli::endProgress();
    nlohmann::json description = nlohmann::json::parse(cli::takeString(text));
    for (const nlohmann::json &verdict : description.value("verdicts", nlohmann::json::array()))
      if (verdict.at("node") == "logits" && verdict.at("contract") == "exact" &&
          verdict.at("deviation_worst").is_number())
        return 2 * verdict.at("deviation_worst").get<double>();
    cli::fail(FUSEBOX_USAGE, "run: --stats needs the analysis of the weights, and " + model +
                                 " has none; compile it with --fusion=certified");
  }

  void run() {
    if (stats)
      generation.certifiedLead = certifiedLead();
    cli::Session session = cli::openSession(model, open);
    std::vector<int32_t> tokens = promptIds(session.get());
    cli::Answer answer = cli::generate(session.get(), tokens, generation, !json);
    if (json)
      printJson(tokens, answer);
    else {
      std::printf("\n");
      cli::printClosingLine(answer);
      if (stats)
        std::fprintf(
            stderr,
            "[certified %d of %d tokens: their largest logit leads by more than %.3g, twice what rounding at "
            "the model's end can change; least lead %.3g]\n",
            answer.generation.certified_tokens, answer.generation.generated_tokens, generation.certifiedLead,
            answer.generation.least_lead);
    }
    if (!std::strcmp(answer.generation.finish_reason, "cancelled"))
      throw cli::Exit{cli::interruptedExitCode};
  }

  void printJson(const std::vector<int32_t> &tokens, const cli::Answer &answer) const {
    const fusebox_generation &g = answer.generation;
    nlohmann::ordered_json out = {{"prompt_ids", tokens},
                                  {"ids", answer.ids},
                                  {"text", answer.text},
                                  {"finish_reason", g.finish_reason},
                                  {"timings",
                                   {{"prompt_tokens", g.prompt_tokens},
                                    {"prefill_seconds", g.prefill_seconds},
                                    {"generated_tokens", g.generated_tokens},
                                    {"decode_seconds", g.decode_seconds}}}};
    if (stats)
      out["stats"] = {{"certified_lead", generation.certifiedLead},
                      {"certified_tokens", g.certified_tokens},
                      {"generated_tokens", g.generated_tokens},
                      {"least_lead", g.least_lead}};
    std::printf("%s\n", cli::dumpJson(out).c_str());
  }
};
} // namespace

void cli::addRunCommand(CLI::App &app) {
  auto command = std::make_shared<RunCommand>();
  CLI::App &sub = *app.add_subcommand("run", "Answer a prompt, streaming the text");
  sub.add_option("MODEL,-m,--model", command->model, "plan, snapshot folder, GGUF file or org/name")
      ->required();
  auto *prompt = sub.add_option("-p,--prompt", command->prompt, "the prompt");
  auto *file = sub.add_option("-f,--file", command->file, "a file with the prompt, - for standard input");
  auto *ids = sub.add_option("--ids", command->ids, "token ids in place of text: 1,504,… or a file of them");
  prompt->excludes(file)->excludes(ids);
  file->excludes(ids);
  sub.add_option("--system", command->system, "system message");
  sub.add_flag("--raw", command->raw, "no chat template: continue the text as it is");
  sub.add_flag("--json", command->json,
               "print ids, text, finish_reason and timings as JSON instead of streaming");
  sub.add_flag(
      "--stats", command->stats,
      "also say how many tokens are certified: no rounding at the model's end can have changed them");
  command->generation.add(sub);
  command->open.add(sub);
  sub.footer("Examples:\n  fusebox run smollm2.plan -p \"Why is the sky blue?\" -n 200\n"
             "  fusebox run ./model --raw --temp 0 -p \"Once upon a time\"\n"
             "  fusebox run model.gguf --ids 1,504,3575 --json");
  sub.callback([command] {
    if (command->prompt.empty() && command->file.empty() && command->ids.empty())
      cli::fail(FUSEBOX_USAGE, "run: give a prompt with -p, -f or --ids");
    command->run();
  });
}
