// fusebox bench: prefill and decode speed as llama-bench reports it, each beside the memory floor of the same
// run.
#include "tools/fusebox/Cli.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

using namespace fusebox;

namespace {
struct Row {
  std::string test;
  int prompt, generated;
  double mean, deviation; ///< tokens a second
  double floor;           ///< tokens a second if nothing but memory cost time
};

struct BenchCommand {
  cli::OpenFlags open;
  std::string model, format = "md";
  std::vector<int> prompts = {512}, generations = {128};
  int repetitions = 5;

  fusebox_model_info info = {};

  void run() {
    int longest = 1;
    for (int n : prompts)
      longest = std::max(longest, n);
    for (int n : generations)
      longest = std::max(longest, n);
    if (open.context == 0)
      open.context = longest;
    cli::Session session = cli::openSession(model, open);
    cli::check(fusebox_info(session.get(), &info));
    double bandwidth = 0;
    cli::check(fusebox_read_bandwidth(session.get(), &bandwidth));
    std::vector<Row> rows;
    for (int n : prompts)
      if (n > 0)
        rows.push_back(measure(session.get(), "pp" + std::to_string(n), n, 0, bandwidth));
    for (int n : generations)
      if (n > 0)
        rows.push_back(measure(session.get(), "tg" + std::to_string(n), 0, n, bandwidth));
    cli::endProgress();
    print(rows, bandwidth);
  }

  static void step(fusebox_session *session, const std::vector<int32_t> &tokens) {
    int32_t starts[2] = {0, int32_t(tokens.size())}, slot = 0, last = starts[1] - 1;
    fusebox_batch batch = {starts[1], 1, 1, tokens.data(), starts, &slot, &last};
    const float *logits = nullptr;
    cli::check(fusebox_step(session, &batch, &logits));
  }

  double secondsOf(fusebox_session *session, int prompt, int generated) const {
    cli::check(fusebox_slot_truncate(session, 0, 0));
    std::vector<int32_t> tokens(prompt);
    for (int i = 0; i < prompt; ++i)
      tokens[i] = int32_t((i * 7919ll + 13) % info.vocabulary);
    auto start = std::chrono::steady_clock::now();
    int chunk = open.chunk > 0 ? open.chunk : 512;
    for (int at = 0; at < prompt; at += chunk)
      step(session, {tokens.begin() + at, tokens.begin() + std::min(prompt, at + chunk)});
    for (int i = 0; i < generated; ++i)
      step(session, {int32_t((i * 7919ll + 13) % info.vocabulary)});
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  Row measure(fusebox_session *session, const std::string &name, int prompt, int generated,
              double bandwidth) const {
    int count = prompt + generated;
    secondsOf(session, prompt, std::min(generated, 8)); // warm-up
    double sum = 0, squares = 0;
    for (int i = 0; i < repetitions; ++i) {
      cli::showProgress(nullptr, name.c_str(), double(i) / repetitions);
      if (cli::interrupted())
        cli::endInterrupted();
      double rate = count / secondsOf(session, prompt, generated);
      sum += rate;
      squares += rate * rate;
    }
    double mean = sum / repetitions;
    double variance = repetitions > 1 ? (squares - repetitions * mean * mean) / (repetitions - 1) : 0;
    // Decode reads the weights and the tokens so far, a prefill step reads the weights once.
    double bytes = double(info.weight_bytes) * (prompt ? std::ceil(prompt / 512.0) : generated) +
                   double(info.kv_bytes_per_token) * generated * generated / 2;
    return {name, prompt, generated, mean, std::sqrt(std::max(0.0, variance)), count / (bytes / bandwidth)};
  }

  void print(const std::vector<Row> &rows, double bandwidth) const {
    if (format == "json") {
      nlohmann::ordered_json out = nlohmann::ordered_json::array();
      for (const Row &row : rows)
        out.push_back({{"model", info.name},
                       {"test", row.test},
                       {"n_prompt", row.prompt},
                       {"n_gen", row.generated},
                       {"n_threads", info.threads},
                       {"avg_ts", row.mean},
                       {"stddev_ts", row.deviation},
                       {"floor_ts", row.floor},
                       {"times_floor", row.floor / row.mean},
                       {"read_bandwidth", bandwidth},
                       {"weight_bytes", info.weight_bytes}});
      std::printf("%s\n", out.dump(2).c_str());
    } else if (format == "csv") {
      std::printf("model,test,n_threads,avg_ts,stddev_ts,floor_ts,times_floor\n");
      for (const Row &row : rows)
        std::printf("%s,%s,%d,%f,%f,%f,%f\n", info.name, row.test.c_str(), info.threads, row.mean,
                    row.deviation, row.floor, row.floor / row.mean);
    } else {
      std::printf("| model | threads | test | tok/s | memory floor tok/s | × floor "
                  "|\n|---|---:|---|---:|---:|---:|\n");
      for (const Row &row : rows)
        std::printf("| %s | %d | %s | %.2f ± %.2f | %.1f | %.2f |\n", info.name, info.threads,
                    row.test.c_str(), row.mean, row.deviation, row.floor, row.floor / row.mean);
      std::printf("\nread bandwidth %.1f GB/s, weights %.1f MB a token\n", bandwidth / 1e9,
                  info.weight_bytes / 1e6);
    }
  }
};
} // namespace

void cli::addBenchCommand(CLI::App &app) {
  auto command = std::make_shared<BenchCommand>();
  CLI::App &sub = *app.add_subcommand("bench", "Measure prefill and decode speed beside the memory floor");
  sub.add_option("MODEL,-m,--model", command->model, "plan, snapshot folder, GGUF file or org/name")
      ->required();
  sub.add_option("-p,--n-prompt", command->prompts, "prompt lengths")->delimiter(',')->capture_default_str();
  sub.add_option("-n,--n-gen", command->generations, "tokens to generate")
      ->delimiter(',')
      ->capture_default_str();
  sub.add_option("-r,--repetitions", command->repetitions, "runs of each test")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  sub.add_option("--format", command->format, "md, json or csv")
      ->check(CLI::IsMember({"md", "json", "csv"}))
      ->capture_default_str();
  command->open.add(sub);
  sub.footer("Example:\n  fusebox bench smollm2.plan -p 512 -n 128 -r 3 --format json");
  sub.callback([command] { command->run(); });
}
