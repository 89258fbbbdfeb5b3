// Whole models on this machine's GPU: see Models.h.
#include "test/device/models/Models.h"

#include "runtime/device/ListDevices.h"
#include "support/ContentHash.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>

using namespace fusebox;

namespace fusebox::gpumodels {

void fail(const std::string &message) {
  std::fflush(stdout);
  std::fprintf(stderr, "FAILED: %s\n", message.c_str());
  std::_Exit(1);
}

int report(const std::string &name, bool passed, const std::string &text) {
  std::printf("%s %-28s %s\n", passed ? "ok  " : "FAIL", name.c_str(), text.c_str());
  std::fflush(stdout);
  return passed ? 0 : 1;
}

std::string format(const char *pattern, ...) {
  char text[240];
  va_list values;
  va_start(values, pattern);
  std::vsnprintf(text, sizeof text, pattern, values);
  va_end(values);
  return text;
}

std::string lastPart(const std::string &path) { return path.substr(path.rfind('/') + 1); }

plan::PlanReader readPlan(const Options &options, const std::string &name, const std::string &type) {
  return expect(plan::PlanReader::open(options.plans + "/" + name + "." + type + ".plan"));
}

plan::PlanReader withFilesOf(const plan::PlanReader &plan, const std::string &weights) {
  plan::Program program = expect(plan.readProgram(*plan.find(plan::SectionKind::Program)));
  for (plan::WeightFile &file : program.files)
    file.contentHash = expect(contentHash(expect(MappedFile::open(weights + "/" + lastPart(file.pathHint)))));
  plan::PlanWriter writer;
  writer.addProgram("cuda", program);
  return expect(plan::PlanReader::fromBytes(writer.encode(), plan.path()));
}

std::unique_ptr<Session> openPlan(const plan::PlanReader &plan, const std::string &weights,
                                  SessionOptions session) {
  session.kind = plan::TargetKind::Cuda;
  session.weights.weightsDir = weights;
  return expect(Session::open(plan, session));
}

std::vector<float> step(Session &session, uint32_t slot, std::span<const int32_t> tokens, size_t rows) {
  int32_t starts[] = {0, int32_t(tokens.size())}, slots[] = {int32_t(slot)};
  std::vector<int32_t> wanted(rows);
  std::iota(wanted.begin(), wanted.end(), int32_t(tokens.size() - rows));
  Logits logits = expect(session.step({tokens, starts, slots, wanted}));
  return {logits.values, logits.values + size_t(logits.rows) * logits.vocabulary};
}

int32_t greedyStep(Session &session, std::span<const int32_t> tokens) {
  int32_t starts[] = {0, int32_t(tokens.size())}, slots[] = {0}, rows[] = {int32_t(tokens.size()) - 1};
  RankedLogits ranked = expect(session.stepRanked({tokens, starts, slots, rows}, 1));
  return ranked.row(0).empty() ? 0 : int32_t(ranked.row(0)[0].index);
}

} // namespace fusebox::gpumodels

using namespace fusebox::gpumodels;

constexpr const char usage[] =
    "usage: fusebox-gpu-model-test --plans DIR --goldens DIR [--check|--check-logits] [--smollm2 FILE.gguf] "
    "[--fault memory|hang]\n"
    "       fusebox-gpu-model-test --plans DIR [--bandwidth GB/S] [--peak TFLOP/S] MODEL...\n"
    "  --plans      folder of plans, NAME.bf16.plan and NAME.f32.plan\n"
    "  --goldens    test/data/golden: the golden models and their reference outputs\n"
    "  --check      the goldens: errors, greedy continuations, bits\n"
    "  --check-logits   errors and greedy continuations alone, where the whole takes long\n"
    "  --smollm2    SmolLM2-135M-Instruct.Q4_1.gguf: five prompts\n"
    "  --fault      a kernel that is at fault must be named\n"
    "  MODEL        folders of full-size models: checked for independence, then timed\n"
    "  --bandwidth, --peak   this GPU's, as measured: floors and shares are printed beside times\n";

namespace {
struct Arguments {
  Options options;
  std::vector<std::string> models;
  std::string smollm2, fault;
  bool check = false, checkLogits = false;

  bool parse(int argc, char **argv) {
    for (int i = 1; i < argc; ++i) {
      std::string arg = argv[i];
      bool more = i + 1 < argc;
      if (arg == "--check")
        check = true;
      else if (arg == "--check-logits")
        checkLogits = true;
      else if (arg[0] != '-')
        models.push_back(arg);
      else if (!more)
        return false;
      else if (arg == "--plans")
        options.plans = argv[++i];
      else if (arg == "--goldens")
        options.goldens = argv[++i];
      else if (arg == "--smollm2")
        smollm2 = argv[++i];
      else if (arg == "--fault")
        fault = argv[++i];
      else if (arg == "--bandwidth")
        options.bandwidth = std::atof(argv[++i]) * 1e9;
      else if (arg == "--peak")
        options.peak = std::atof(argv[++i]) * 1e12;
      else
        return false;
    }
    bool needsGoldens = check || checkLogits || !smollm2.empty() || !fault.empty();
    return !options.plans.empty() && (!needsGoldens || !options.goldens.empty());
  }
};
} // namespace

int main(int argc, char **argv) {
  Arguments arguments;
  if (!arguments.parse(argc, argv)) {
    std::fputs(usage, stderr);
    return 10;
  }
  const Options &options = arguments.options;
  bool found = false;
  for (const DeviceInfo &device : expect(listDevices())) {
    std::printf("%s: %s%s\n", device.name.c_str(),
                device.usable ? device.target.c_str() : "not usable: ", device.reason.c_str());
    found = found || (device.kind == plan::TargetKind::Cuda && device.usable);
  }
  if (!found)
    fail("no GPU to test");
  int failures = arguments.check || arguments.checkLogits ? checkGoldens(options) : 0;
  if (arguments.check)
    failures += checkGoldenIndependence(options);
  if (!arguments.smollm2.empty())
    failures += checkSmolLm2(options, arguments.smollm2);
  if (!arguments.fault.empty())
    failures += checkFault(options, arguments.fault);
  for (const std::string &model : arguments.models) {
    plan::PlanReader plan = withFilesOf(readPlan(options, lastPart(model), "bf16"), model);
    failures += checkIndependence(plan, lastPart(model), model);
    failures += checkSampling(plan, lastPart(model), model);
    failures += benchModel(options, plan, model);
  }
  std::printf("%s\n", failures ? (std::to_string(failures) + " checks FAILED").c_str() : "all checks passed");
  std::fflush(stdout);
  std::_Exit(failures ? 1 : 0); // a GPU that a fault has taken away would be waited for
}
