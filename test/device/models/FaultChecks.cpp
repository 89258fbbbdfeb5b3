// What a user sees when a kernel is at fault: the plan's attention is replaced by a kernel that misbehaves.
#include "test/device/models/Models.h"

#include <algorithm>
#include <cstdlib>

namespace fusebox::gpumodels {

namespace {

/// The body of a kernel that misbehaves; the one that hangs ends after 8 s, so that no GPU is left with it.
std::string bodyOf(const std::string &kind) {
  if (kind == "memory")
    return "*(volatile int *)16 = 1;";
  return "unsigned long long begin, now; asm volatile(\"mov.u64 %0, %globaltimer;\" : \"=l\"(begin)); "
         "do asm volatile(\"mov.u64 %0, %globaltimer;\" : \"=l\"(now)); while (now - begin < 8000000000ull);";
}

/// The golden plan with that kernel in the place of its attention in steps of one token that sees few keys.
plan::PlanReader faultyPlan(const Options &options, const std::string &kind, std::string &kernelName) {
  plan::PlanReader good = readPlan(options, "qwen3", "bf16");
  plan::Program program = expect(good.readProgram(*good.find(plan::SectionKind::Program)));
  for (const plan::Launch &launch : program.launches) {
    if (launch.name != "attn")
      continue;
    const plan::Variant &variant =
        *std::find_if(launch.variants.begin(), launch.variants.end(),
                      [](const plan::Variant &v) { return v.minKeys == 0 && !v.loop; });
    const plan::Kernel &kernel = program.kernels[variant.kernel];
    plan::Module &module = program.modules[kernel.module];
    module.source = "extern \"C\" __global__ void " + kernel.symbol + "() { " + bodyOf(kind) + " }\n";
    module.cubins.clear();
    kernelName = kernel.name;
  }
  if (kernelName.empty())
    fail("the golden has no launch called attn");
  plan::PlanWriter writer;
  writer.addProgram("cuda", program);
  return expect(plan::PlanReader::fromBytes(writer.encode(), "faulty.plan"));
}

} // namespace

int checkFault(const Options &options, const std::string &kind) {
  if (kind != "memory" && kind != "hang")
    fail("unknown fault " + kind + ": memory or hang");
  setenv("FUSEBOX_GPU_SYNC", "1", 1);
  setenv("FUSEBOX_GPU_LOOPS", "off", 1); // else the kernel would not run
  setenv("FUSEBOX_GPU_TIMEOUT", "2", 1);
  std::string kernel;
  auto session = openPlan(faultyPlan(options, kind, kernel), options.goldens + "/qwen3");
  int32_t token = 1, starts[] = {0, 1}, slots[] = {0}, rows[] = {0};
  auto result = session->step({{&token, 1}, starts, slots, rows});
  std::string message = result ? "no error" : result.error().message;
  auto says = [&](const std::string &text) { return message.find(text) != std::string::npos; };
  bool named = says(kernel) && says("decoder.0.attn");
  bool told = says(kind == "hang" ? "has not returned in time" : "CUDA_ERROR_");
  int failed = report("fault: " + kind, named && told, message);
  session.reset(); // returns although the kernel still runs
  return failed;
}

} // namespace fusebox::gpumodels
