// Whole models on this machine's GPU: see Models.h.
#include "test/device/models/Models.h"

#include "runtime/device/ListDevices.h"

#include <cstdio>
#include <cstdlib>
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

std::unique_ptr<Session> openModel(const Options &options, const std::string &model,
                                   std::optional<DType> dtype, SessionOptions session) {
  CompileOptions compile;
  compile.targets = {options.target};
  compile.dtype = dtype;
  CompiledPlan plan = expect(compileModel(model, compile));
  plan::PlanReader reader = expect(plan::PlanReader::fromBytes(plan.writer.encode(), model));
  session.kind = plan::TargetKind::Cuda;
  return expect(Session::open(reader, session));
}

std::vector<float> step(Session &session, uint32_t slot, std::span<const int32_t> tokens, size_t rows) {
  int32_t starts[] = {0, int32_t(tokens.size())}, slots[] = {int32_t(slot)};
  std::vector<int32_t> wanted(rows);
  std::iota(wanted.begin(), wanted.end(), int32_t(tokens.size() - rows));
  Logits logits = expect(session.step({tokens, starts, slots, wanted}));
  return {logits.values, logits.values + size_t(logits.rows) * logits.vocabulary};
}

} // namespace fusebox::gpumodels

using namespace fusebox::gpumodels;

/// Compiles models for the target and says how large their plans are.
static int compileAll(const Options &options, const std::vector<std::string> &models,
                      const std::string &dumpFolder) {
  for (const std::string &model : models)
    for (DType dtype : {DType::BF16, DType::F32}) {
      CompileOptions compile;
      compile.targets = {options.target};
      compile.dtype = dtype;
      if (!dumpFolder.empty())
        compile.dumpDir = dumpFolder + (dtype == DType::F32 ? "/f32" : "/bf16");
      CompiledPlan plan = expect(compileModel(model, compile));
      std::printf("%s %s:", model.c_str(), dtype == DType::F32 ? "f32" : "bf16");
      for (const PhaseTime &time : plan.times)
        std::printf(" %s %.0f ms", std::string(phaseName(time.phase)).c_str(), time.milliseconds);
      std::printf("; plan of %zu bytes\n", plan.writer.encode().size());
    }
  return 0;
}

int main(int argc, char **argv) {
  Options options;
  std::vector<std::string> models;
  bool compileOnly = false;
  std::string dumpFolder;
  for (int i = 1; i < argc; ++i) {
    std::string arg = argv[i];
    bool more = i + 1 < argc;
    if (arg == "--goldens" && more)
      options.goldens = argv[++i];
    else if (arg == "--compile")
      compileOnly = true;
    else if (arg == "--dump" && more)
      dumpFolder = argv[++i];
    else if (arg == "--target" && more)
      options.target = argv[++i];
    else if (arg == "--bandwidth" && more)
      options.bandwidth = std::atof(argv[++i]) * 1e9;
    else if (arg == "--peak" && more)
      options.peak = std::atof(argv[++i]) * 1e12;
    else if (arg[0] != '-')
      models.push_back(arg);
    else {
      std::fputs(
          "usage: fusebox-gpu-model-test [--compile --target cuda:sm_90a] [--goldens DIR] [--bandwidth GB/S] "
          "[--peak TFLOP/S] [MODEL...]\n"
          "  --goldens    checks the golden models of DIR (test/data/golden)\n"
          "  MODEL        folders of full-size models: checked for independence, then timed\n"
          "  --compile    only compiles the MODELs, which needs no GPU; --dump DIR leaves the IR of each "
          "phase\n"
          "  --bandwidth, --peak   this GPU's, as measured: floors and shares are printed beside times\n",
          stderr);
      return 10;
    }
  }
  for (const DeviceInfo &device : expect(listDevices())) {
    std::printf("%s: %s%s\n", device.name.c_str(),
                device.usable ? device.target.c_str() : "not usable: ", device.reason.c_str());
    if (device.kind == plan::TargetKind::Cuda && device.usable && options.target.empty())
      options.target = device.target;
  }
  if (options.target.empty())
    fail("no GPU to test");
  if (compileOnly)
    return compileAll(options, models, dumpFolder);
  int failures = options.goldens.empty() ? 0 : checkGoldens(options);
  for (const std::string &model : models) {
    failures += checkIndependence(options, model, model.substr(model.rfind('/') + 1));
    failures += benchModel(options, model);
  }
  std::printf("%s\n", failures ? (std::to_string(failures) + " checks FAILED").c_str() : "all checks passed");
  return failures ? 1 : 0;
}
