// The device suite: every CUDA kernel against references, and timings beside the memory floor.
// tools/test-gpu.sh and tools/bench-gpu.sh call it; docs/gpu.md explains what it prints.
#include "test/device/Case.h"

#include <cstdio>
#include <cstring>
#include <thread>

using namespace fusebox;
using namespace fusebox::gputest;

namespace {

struct Options {
  std::string cubins, chip = "sm_90a", filter;
  bool compileOnly = false, check = true, bench = true, bulkCopies = true;
  int device = 0;
};

constexpr const char usage[] =
    "usage: fusebox-gpu-kernel-test [--check | --bench] [--cubins DIR] [--device N] [--filter TEXT]\n"
    "                               [--without-bulk-copies]\n"
    "       fusebox-gpu-kernel-test --compile --cubins DIR [--chip sm_90a]   (needs no GPU)\n"
    "  --check    only the comparisons with references\n"
    "  --bench    only the timings\n"
    "  --cubins   folder of compiled kernels; what it lacks is compiled with NVRTC and added\n"
    "  --filter   only cases whose name contains TEXT (memory is always measured before timings)\n"
    "  --without-bulk-copies   in their place copies that compute-sanitizer's racecheck follows\n";

bool parse(int argc, char **argv, Options &options) {
  for (int i = 1; i < argc; ++i) {
    std::string arg = argv[i];
    auto value = [&](std::string &to) {
      if (++i >= argc)
        return false;
      to = argv[i];
      return true;
    };
    std::string number;
    bool known = true;
    if (arg == "--check")
      options.bench = false;
    else if (arg == "--bench")
      options.check = false;
    else if (arg == "--compile")
      options.compileOnly = true;
    else if (arg == "--without-bulk-copies")
      options.bulkCopies = false;
    else if (arg == "--cubins")
      known = value(options.cubins);
    else if (arg == "--chip")
      known = value(options.chip);
    else if (arg == "--filter")
      known = value(options.filter);
    else if (arg == "--device" && value(number))
      options.device = std::atoi(number.c_str());
    else
      known = false;
    if (!known) {
      std::fputs(usage, stderr);
      return false;
    }
  }
  return true;
}

std::vector<Case> checkCases() {
  std::vector<Case> cases;
  addPointwiseCases(cases);
  addNormCases(cases);
  addHeadCases(cases);
  addLinearCases(cases);
  addStreamCases(cases);
  addAttentionCases(cases);
  addPrefillCases(cases);
  addSelectionCases(cases);
  return cases;
}

std::vector<Case> benchCases(const std::string &chip, unsigned multiprocessors) {
  std::vector<Case> cases;
  addBandwidthCases(cases, multiprocessors);
  addDecodeCases(cases, chip, multiprocessors);
  addPrefillSpeedCases(cases);
  addSelectionSpeedCases(cases);
  return cases;
}

/// Compiles the kernels of all cases into the folder, on all cores.
int compileAll(const Options &options, const std::vector<Case> &cases) {
  std::vector<std::pair<std::string, std::string>> kernels;
  for (const PlainKernel &kernel : plainKernels)
    kernels.push_back({kernel.name, kernel.source});
  for (const Case &c : cases)
    for (const cuda::KernelRequest &request :
         c.name.find(options.filter) == std::string::npos ? std::vector<cuda::KernelRequest>() : c.kernels)
      for (bool bulkCopies : {true, false})
        kernels.push_back({cuda::kernelName(request), sourceOf(request, bulkCopies)});
  std::sort(kernels.begin(), kernels.end());
  kernels.erase(std::unique(kernels.begin(), kernels.end()), kernels.end());
  KernelStore store(options.cubins);
  std::vector<std::thread> workers;
  const size_t cores = std::max(1u, std::thread::hardware_concurrency());
  for (size_t w = 0; w < cores; ++w)
    workers.emplace_back([&, w] {
      for (size_t i = w; i < kernels.size(); i += cores)
        store.cubin(kernels[i].first, kernels[i].second, options.chip);
    });
  for (std::thread &worker : workers)
    worker.join();
  std::printf("%zu kernels for %s\n", kernels.size(), options.chip.c_str());
  return 0;
}

int runAll(Gpu &gpu, const std::vector<Case> &cases, const Options &options) {
  int failures = 0;
  for (const Case &c : cases) {
    if (c.name != "memory read" && c.name.find(options.filter) == std::string::npos)
      continue;
    Outcome outcome = c.run(gpu);
    failures += !outcome.passed;
    std::printf("%s %-44s %s\n", outcome.passed ? "ok  " : "FAIL", c.name.c_str(), outcome.text.c_str());
    std::fflush(stdout);
  }
  return failures;
}

} // namespace

int main(int argc, char **argv) {
  Options options;
  if (!parse(argc, argv, options))
    return 10;
  if (options.compileOnly) {
    const cuda::Chip *chip = cuda::findChip(options.chip);
    if (!chip || options.cubins.empty()) {
      std::fputs(usage, stderr);
      return 10;
    }
    std::vector<Case> cases = checkCases(), timed = benchCases(chip->name, chip->multiprocessors);
    cases.insert(cases.end(), timed.begin(), timed.end());
    return compileAll(options, cases);
  }
  Gpu gpu(KernelStore(options.cubins), options.device);
  gpu.bulkCopies = options.bulkCopies;
  std::printf("%s, %s, %u multiprocessors, %.0f GB, %.0f MB L2\n", gpu.info.name.c_str(),
              gpu.info.chip().c_str(), gpu.multiprocessors, double(gpu.info.memoryBytes) / 1e9,
              double(gpu.info.l2Bytes) / 1e6);
  int failures = options.check ? runAll(gpu, checkCases(), options) : 0;
  if (options.bench)
    failures += runAll(gpu, benchCases(gpu.info.chip(), gpu.multiprocessors), options);
  std::printf("%s\n", failures ? (std::to_string(failures) + " cases FAILED").c_str() : "all cases passed");
  return failures ? 1 : 0;
}
