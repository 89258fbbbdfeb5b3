// The golden models on the GPU: logits against f64, greedy continuations, independence.
#include "test/device/models/Models.h"

#include <algorithm>

namespace fusebox::gpumodels {

namespace {

/// All logits of a prompt, in one step or a token at a time; with `alone` every launch runs for itself.
std::vector<float> logitsOf(Session &session, std::span<const int32_t> ids, size_t chunk, bool alone) {
  expect(session.truncate(0, 0));
  if (alone)
    session.observe([](const NodeReport &) { return Result<void>(); });
  std::vector<float> all;
  for (size_t first = 0; first < ids.size(); first += chunk) {
    auto part = ids.subspan(first, std::min(chunk, ids.size() - first));
    std::vector<float> logits = step(session, 0, part, part.size());
    all.insert(all.end(), logits.begin(), logits.end());
  }
  session.observe({});
  return all;
}

int checkBf16(const Options &options, const std::string &name, const Expected &expected) {
  auto session = openPlan(readPlan(options, name, "bf16"), options.goldens + "/" + name);
  std::vector<int32_t> ids = expected.ids("input_ids");
  std::vector<double> exact = expected.reals("logits_f64");
  double reference = relativeError(expected.reals("logits_bf16"), exact);
  std::vector<float> prefill = logitsOf(*session, ids, ids.size(), false),
                     decode = logitsOf(*session, ids, 1, false), separate = logitsOf(*session, ids, 1, true),
                     again = logitsOf(*session, ids, 1, false);
  double prefillError = relativeError(prefill, exact), decodeError = relativeError(decode, exact);
  std::vector<double> decoded(decode.begin(), decode.end());
  bool merged = decode == separate, stable = decode == again;
  bool passed = prefillError <= 1.2 * reference && decodeError <= 1.2 * reference && merged && stable;
  return report(name + " bf16", passed,
                format("error to f64: prefill %.4f, decode %.4f, reference bf16 %.4f; prefill against decode "
                       "%.4f; %s; %s",
                       prefillError, decodeError, reference, relativeError(prefill, decoded),
                       merged ? "merged = separate launches" : "MERGED DIFFERS",
                       stable ? "same bits again" : "RUNS DIFFER"));
}

int checkF32(const Options &options, const std::string &name, const Expected &expected) {
  auto session = openPlan(readPlan(options, name, "f32"), options.goldens + "/" + name);
  std::vector<int32_t> ids = expected.ids("input_ids"), greedy = expected.ids("greedy_f32");
  std::vector<double> exact = expected.reals("logits_f64");
  double reference = relativeError(expected.reals("logits_f32"), exact);
  std::vector<float> logits = logitsOf(*session, ids, ids.size(), false);
  double error = relativeError(logits, exact);
  expect(session->truncate(0, 0));
  size_t right = 0;
  for (int32_t next = greedyStep(*session, ids); right < greedy.size() && next == greedy[right];)
    if (++right < greedy.size())
      next = greedyStep(*session, {&next, 1});
  return report(name + " f32", error <= 4 * reference && right == greedy.size(),
                format("error to f64 %.2e, reference f32 %.2e; greedy %zu of %zu as in the reference", error,
                       reference, right, greedy.size()));
}

/// llama with scales and a soft cap, so with chains of pointwise operations (tools/prepare-gpu.sh): the
/// plans' CPU programs are the reference, f32 for bf16.
int checkChains(const Options &options) {
  const std::string weights = options.goldens + "/llama";
  std::vector<int32_t> ids = Expected(weights).ids("input_ids");
  auto onCpu = [&](const char *type) {
    SessionOptions settings;
    settings.kind = plan::TargetKind::Cpu;
    settings.weights.weightsDir = weights;
    auto session = expect(Session::open(readPlan(options, "chains", type), settings));
    std::vector<float> logits = logitsOf(*session, ids, ids.size(), false);
    return std::vector<double>(logits.begin(), logits.end());
  };
  std::vector<double> exact = onCpu("f32"), rounded = onCpu("bf16");
  double reference = relativeError(rounded, exact);
  int failures = 0;
  for (const char *type : {"bf16", "f32"}) {
    auto session = openPlan(readPlan(options, "chains", type), weights);
    std::vector<float> prefill = logitsOf(*session, ids, ids.size(), false),
                       decode = logitsOf(*session, ids, 1, false);
    bool merged =
        prefill == logitsOf(*session, ids, ids.size(), true) && decode == logitsOf(*session, ids, 1, true);
    double allowed = std::string_view(type) == "bf16" ? 1.2 * reference : 1e-5;
    double prefillError = relativeError(prefill, exact), decodeError = relativeError(decode, exact);
    failures +=
        report(std::string("chains ") + type, prefillError <= allowed && decodeError <= allowed && merged,
               format("error to the CPU's f32: prefill %.2e, decode %.2e, CPU bf16 %.2e; %s", prefillError,
                      decodeError, reference, merged ? "merged = separate launches" : "MERGED DIFFERS"));
  }
  return failures;
}

} // namespace

int checkGoldens(const Options &options) {
  int failures = 0;
  for (const char *name : goldenNames) {
    Expected expected(options.goldens + "/" + name);
    failures += checkBf16(options, name, expected);
    failures += checkF32(options, name, expected);
  }
  return failures + checkChains(options);
}

int checkGoldenIndependence(const Options &options) {
  int failures = 0;
  for (const char *name : {"qwen3", "llama-tied", "ernie4_5"}) {
    plan::PlanReader plan = readPlan(options, name, "bf16");
    failures += checkIndependence(plan, name, options.goldens + "/" + name);
    failures += checkSampling(plan, name, options.goldens + "/" + name);
  }
  return failures;
}

} // namespace fusebox::gpumodels
