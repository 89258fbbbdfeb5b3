// fusebox tokenize: text to token ids and back, with the tokenizer of a folder, a GGUF or a plan.
#include "tools/fusebox/Cli.h"

#include <cstdio>
#include <nlohmann/json.hpp>

using namespace fusebox;

namespace {
struct TokenizeCommand {
  std::string model, text, file, decode;
  bool json = false, noSpecial = false, skipSpecial = false;

  void run() const {
    fusebox_tokenizer *opened = nullptr;
    cli::check(fusebox_open_tokenizer(model.c_str(), &opened));
    cli::Tokenizer tokenizer(opened);
    if (!decode.empty())
      return printText(tokenizer.get());
    std::string input = file.empty() ? text : cli::readFile(file);
    std::vector<int32_t> ids = cli::tokenize(tokenizer.get(), input, !noSpecial);
    if (json) {
      std::printf("%s\n", cli::dumpJson({{"ids", ids}}).c_str());
      return;
    }
    for (int32_t id : ids)
      std::printf("%8d  %s\n", id, cli::dumpJson(decodeIds(tokenizer.get(), {id})).c_str());
    std::printf("%zu tokens\n", ids.size());
  }

  std::string decodeIds(fusebox_tokenizer *tokenizer, const std::vector<int32_t> &ids) const {
    char *decoded = nullptr;
    cli::check(fusebox_detokenize(tokenizer, ids.data(), int32_t(ids.size()), skipSpecial, &decoded));
    return cli::takeString(decoded);
  }

  void printText(fusebox_tokenizer *tokenizer) const {
    std::string decoded = decodeIds(tokenizer, cli::parseIds(decode));
    if (json)
      std::printf("%s\n", cli::dumpJson({{"text", decoded}}).c_str());
    else
      std::printf("%s\n", decoded.c_str());
  }
};
} // namespace

void cli::addTokenizeCommand(CLI::App &app) {
  auto command = std::make_shared<TokenizeCommand>();
  CLI::App &sub = *app.add_subcommand("tokenize", "Turn text into token ids, or ids into text");
  sub.add_option("MODEL,-m,--model", command->model, "a folder that holds a tokenizer, a GGUF file or a plan")
      ->required();
  auto *text = sub.add_option("-p,--prompt", command->text, "the text");
  auto *file = sub.add_option("-f,--file", command->file, "a file with the text, - for standard input");
  auto *decode = sub.add_option("--decode", command->decode, "ids to decode: 1,2,3 or a file of them");
  text->excludes(file)->excludes(decode);
  file->excludes(decode);
  sub.add_flag("--json", command->json, "print {\"ids\": […]} or {\"text\": …}");
  sub.add_flag("--no-special", command->noSpecial, "add no BOS or other special tokens");
  sub.add_flag("--skip-special", command->skipSpecial, "leave special tokens out when decoding");
  sub.footer("Examples:\n  fusebox tokenize ./model -p \"Hello, world\"\n"
             "  fusebox tokenize model.gguf --decode 1,504,3575");
  sub.callback([command] {
    if (command->text.empty() && command->file.empty() && command->decode.empty())
      cli::fail(FUSEBOX_USAGE, "tokenize: give a text with -p or -f, or ids with --decode");
    command->run();
  });
}
