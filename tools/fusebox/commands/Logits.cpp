// fusebox logits: all positions' logits, and every node's values, as a safetensors file; the base of
// comparisons.
#include "support/SafetensorsWriter.h"
#include "tools/fusebox/Cli.h"

#include <cstdio>
#include <list>

using namespace fusebox;

namespace {
/// Values of one node, kept until the file is written.
struct Activation {
  std::string name;
  int64_t rows, columns;
  std::vector<float> values;
};

struct LogitsCommand {
  cli::OpenFlags flags;
  std::string model, output, ids, text, oracle;
  bool activations = false;
  std::list<Activation> recorded;

  static void record(void *user, const char *node, const float *values, int64_t rows, int64_t columns) {
    auto &self = *static_cast<LogitsCommand *>(user);
    // A node seen again continues the rows of the chunk before.
    for (Activation &known : self.recorded)
      if (known.name == node && known.columns == columns) {
        known.values.insert(known.values.end(), values, values + rows * columns);
        known.rows += rows;
        return;
      }
    self.recorded.push_back({node, rows, columns, std::vector<float>(values, values + rows * columns)});
  }

  std::vector<int32_t> inputIds() const {
    if (!ids.empty())
      return cli::parseIds(ids);
    fusebox_tokenizer *opened = nullptr;
    cli::check(fusebox_open_tokenizer(model.c_str(), &opened));
    return cli::tokenize(cli::Tokenizer(opened).get(), text, true);
  }

  void run() {
    std::vector<int32_t> tokens = inputIds();
    int32_t count = int32_t(tokens.size()), vocabulary = 0;
    std::vector<float> logits;
    auto callback = activations ? record : nullptr;
    if (oracle.empty()) {
      if (flags.context == 0)
        flags.context = count;
      cli::Session session = cli::openSession(model, flags);
      fusebox_model_info info;
      cli::check(fusebox_info(session.get(), &info));
      vocabulary = info.vocabulary;
      logits.resize(size_t(count) * vocabulary);
      cli::check(fusebox_logits(session.get(), tokens.data(), count, logits.data(), callback, this));
    } else {
      fusebox_compile_options compile = flags.compile.options();
      fusebox_open_options options = flags.options(compile);
      cli::check(fusebox_model_vocabulary(model.c_str(), &vocabulary));
      logits.resize(size_t(count) * vocabulary);
      cli::check(fusebox_oracle_logits(model.c_str(), oracle.c_str(), &options, tokens.data(), count,
                                       logits.data(), callback, this));
    }
    cli::endProgress();
    write(tokens, logits, vocabulary);
    std::printf("%s: logits [%d, %d]%s\n", output.c_str(), count, vocabulary,
                activations ? (", " + std::to_string(recorded.size()) + " activations").c_str() : "");
  }

  void write(const std::vector<int32_t> &tokens, const std::vector<float> &logits, int32_t vocabulary) const {
    std::vector<TensorToWrite> tensors;
    int64_t count = int64_t(tokens.size());
    tensors.push_back({"logits", DType::F32, {count, vocabulary}, std::as_bytes(std::span(logits))});
    tensors.push_back({"input_ids", DType::I32, {count}, std::as_bytes(std::span(tokens))});
    for (const Activation &node : recorded)
      tensors.push_back(
          {node.name, DType::F32, {node.rows, node.columns}, std::as_bytes(std::span(node.values))});
    if (Result<void> written = writeSafetensors(output, tensors); !written)
      cli::fail(fusebox_status(written.error().kind), written.error().message);
  }
};
} // namespace

void cli::addLogitsCommand(CLI::App &app) {
  auto command = std::make_shared<LogitsCommand>();
  CLI::App &sub = *app.add_subcommand("logits", "Write all positions' logits to a safetensors file");
  sub.add_option("MODEL,-m,--model", command->model, "model or plan")->required();
  auto *ids = sub.add_option("--ids", command->ids, "token ids, 1,504,… or a file of them");
  auto *text = sub.add_option("-p,--prompt", command->text, "text in place of ids");
  ids->excludes(text);
  sub.add_option("-o,--output", command->output, "the safetensors file to write")->required();
  sub.add_flag("--activations", command->activations, "add every node's values, e.g. decoder.3.q");
  sub.add_option("--oracle", command->oracle, "run the interpreter of the layer IR instead of a plan")
      ->check(CLI::IsMember({"f64", "bf16"}));
  command->flags.add(sub);
  sub.footer("Examples:\n  fusebox logits model.gguf --ids 1,504,3575 -o out.safetensors\n"
             "  fusebox logits ./model --ids ids.txt --oracle f64 --activations -o oracle.safetensors");
  sub.callback([command] {
    if (command->ids.empty() && command->text.empty())
      cli::fail(FUSEBOX_USAGE, "logits: give token ids with --ids or a text with -p");
    command->run();
  });
}
