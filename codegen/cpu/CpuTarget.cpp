#include "codegen/cpu/CpuCodegen.h"

#include "runtime/cpu/CpuFeatures.h"

using namespace fusebox;
using namespace fusebox::cpu;

/// Targets from best to plainest. AVX512-BF16 comes with VNNI on every CPU that has it.
static const CpuTarget targets[] = {
    {"x86-64-v4", "+avx512bf16,+avx512vnni", "x86-64-v4+avx512bf16"},
    {"x86-64-v4", "", "x86-64-v4"},
    {"x86-64-v3", "", "x86-64-v3"},
};

Result<CpuTarget> cpu::hostTarget() {
  for (const CpuTarget &target : targets)
    if (checkFeatures({plan::TargetKind::Cpu, target.cpu, target.features}))
      return target;
  return resourceError("this CPU has no AVX2 and FMA (x86-64-v3), which the kernels need");
}

Result<CpuTarget> cpu::parseCpuTarget(const std::string &name) {
  if (name == "native")
    return hostTarget();
  std::string known;
  for (const CpuTarget &target : targets) {
    if (target.name == name)
      return target;
    known += target.name + ", ";
  }
  return usageError("unknown CPU target " + name + "; known are " + known + "native");
}
