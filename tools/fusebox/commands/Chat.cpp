// fusebox chat: a conversation on the terminal. The KV cache keeps the turns, so each costs only its new
// tokens.
#include "tools/fusebox/Generate.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <nlohmann/json.hpp>
#include <unistd.h>

using namespace fusebox;

namespace {
struct ChatCommand {
  cli::OpenFlags open;
  cli::GenerateFlags generation;
  std::string model, system;

  void run() const {
    cli::Session session = cli::openSession(model, open);
    fusebox_model_info info;
    cli::check(fusebox_info(session.get(), &info));
    if (!info.has_chat_template)
      cli::fail(FUSEBOX_MODEL, model + ": has no chat template; use `fusebox run --raw`");
    fusebox_tokenizer *tokenizer = nullptr;
    cli::check(fusebox_session_tokenizer(session.get(), &tokenizer));
    nlohmann::json beginning = nlohmann::json::array();
    if (!system.empty())
      beginning.push_back({{"role", "system"}, {"content", system}});
    nlohmann::json messages = beginning;

    bool terminal = isatty(STDIN_FILENO);
    std::vector<int32_t> cached;
    if (terminal)
      std::fprintf(stderr, "%s, context %d tokens. /exit ends, /clear starts anew.\n", info.name,
                   info.context);
    for (std::string line; prompt(terminal), std::getline(std::cin, line);) {
      if (line == "/exit")
        break;
      if (line == "/clear") {
        messages = beginning;
        continue;
      }
      if (line.empty())
        continue;
      messages.push_back({{"role", "user"}, {"content", line}});
      cli::Answer answer = turn(session.get(), tokenizer, messages, cached);
      messages.push_back({{"role", "assistant"}, {"content", answer.text}});
      std::printf("\n");
      cli::printClosingLine(answer);
      if (!std::strcmp(answer.generation.finish_reason, "cancelled"))
        throw cli::Exit{cli::interruptedExitCode};
    }
  }

  static void prompt(bool terminal) {
    if (terminal) {
      std::fputs("> ", stdout);
      std::fflush(stdout);
    }
  }

  /// Renders the conversation, keeps the part of the cache it shares with the last turn, and generates.
  cli::Answer turn(fusebox_session *session, fusebox_tokenizer *tokenizer, const nlohmann::json &messages,
                   std::vector<int32_t> &cached) const {
    char *rendered = nullptr;
    cli::check(fusebox_apply_chat_template(tokenizer, messages.dump().c_str(), true, &rendered));
    std::vector<int32_t> ids = cli::tokenize(tokenizer, cli::takeString(rendered), false);
    size_t length = std::min(size_t(fusebox_slot_length(session, 0)), cached.size());
    size_t shared =
        std::mismatch(ids.begin(), ids.begin() + std::min(ids.size() - 1, length), cached.begin()).first -
        ids.begin();
    cli::check(fusebox_slot_truncate(session, 0, int32_t(shared)));
    cli::Answer answer = cli::generate(session, {ids.begin() + shared, ids.end()}, generation, true);
    cached = ids;
    cached.insert(cached.end(), answer.ids.begin(), answer.ids.end());
    return answer;
  }
};
} // namespace

void cli::addChatCommand(CLI::App &app) {
  auto command = std::make_shared<ChatCommand>();
  CLI::App &sub = *app.add_subcommand("chat", "Talk with a chat model");
  sub.add_option("MODEL,-m,--model", command->model, "plan, snapshot folder, GGUF file or org/name")
      ->required();
  sub.add_option("--system", command->system, "system message");
  command->generation.add(sub);
  command->open.add(sub);
  sub.footer("Example:\n  fusebox chat smollm2.plan --system \"Answer in one sentence.\"");
  sub.callback([command] { command->run(); });
}
