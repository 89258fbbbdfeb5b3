// A real model on the GPU: SmolLM2-135M-Instruct from its published GGUF, against Hugging Face's tokens.
#include "test/device/models/Models.h"

namespace fusebox::gpumodels {

namespace {

constexpr int prompts = 5;
/// Where the reference's two best tokens are nearer than this in f32, a run in bf16 may rightly differ (as on
/// the CPU, test/e2e/SmolLm2PlanTest.cpp).
constexpr double decidedMargin = 1.3;

std::string part(int prompt, const char *what) { return "prompt_" + std::to_string(prompt) + what; }

/// In f32 the greedy continuations are the reference's.
int checkF32(Session &session, const Expected &expected) {
  int right = 0;
  size_t tokens = 0;
  for (int prompt = 0; prompt < prompts; ++prompt) {
    std::vector<int32_t> wanted = expected.ids(part(prompt, "_greedy_f32")), ours;
    expect(session.truncate(0, 0));
    ours.push_back(greedyStep(session, expected.ids(part(prompt, "_ids"))));
    while (ours.size() < wanted.size())
      ours.push_back(greedyStep(session, {&ours.back(), 1}));
    right += ours == wanted;
    tokens += wanted.size();
  }
  return report("SmolLM2 f32, 5 prompts", right == prompts,
                format("%d of %d continuations are the reference's, %zu tokens", right, prompts, tokens));
}

/// In bf16 the next token is the reference's wherever that is decided.
int checkBf16(Session &session, const Expected &expected) {
  size_t decided = 0, right = 0, same = 0, all = 0;
  for (int prompt = 0; prompt < prompts; ++prompt) {
    std::vector<int32_t> wanted = expected.ids(part(prompt, "_greedy_f32"));
    std::vector<double> margins = expected.reals(part(prompt, "_greedy_margin"));
    expect(session.truncate(0, 0));
    int32_t ours = greedyStep(session, expected.ids(part(prompt, "_ids")));
    for (size_t i = 0; i < wanted.size(); ++i) {
      bool clear = margins[i] > decidedMargin;
      decided += clear, right += clear && ours == wanted[i];
      ++all, same += ours == wanted[i];
      if (i + 1 < wanted.size())
        ours = greedyStep(session, {&wanted[i], 1});
    }
  }
  return report(
      "SmolLM2 bf16, 4-bit weights", right == decided,
      format("%zu of %zu decided tokens are the reference's, %zu of %zu in all", right, decided, same, all));
}

} // namespace

int checkSmolLm2(const Options &options, const std::string &gguf) {
  Expected expected(options.goldens + "/smollm2-135m-instruct");
  std::string folder = gguf.substr(0, gguf.size() - lastPart(gguf).size());
  SessionOptions settings;
  settings.contextTokens = 512;
  int failures = checkF32(*openPlan(readPlan(options, "smollm2", "f32"), folder, settings), expected);
  return failures + checkBf16(*openPlan(readPlan(options, "smollm2", "bf16"), folder, settings), expected);
}

} // namespace fusebox::gpumodels
