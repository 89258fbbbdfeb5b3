#include "runtime/cpu/CpuFeatures.h"

#include <optional>
#include <string>

using namespace fusebox;
using namespace fusebox::cpu;

namespace {

struct Known {
  std::string_view name;
  bool present;
};

/// Presence of a level or feature; nothing if the name is not one we know. The compiler's run-time check asks
/// the CPU and, for vector registers, whether the operating system saves them.
std::optional<bool> present(std::string_view name) {
#define FUSEBOX_CPU(NAME)                                                                                    \
  Known { NAME, bool(__builtin_cpu_supports(NAME)) }
  static const Known known[] = {
      {"x86-64", true},
      FUSEBOX_CPU("x86-64-v2"),
      FUSEBOX_CPU("x86-64-v3"),
      FUSEBOX_CPU("x86-64-v4"),
      FUSEBOX_CPU("avx"),
      FUSEBOX_CPU("avx2"),
      FUSEBOX_CPU("fma"),
      FUSEBOX_CPU("f16c"),
      FUSEBOX_CPU("bmi"),
      FUSEBOX_CPU("bmi2"),
      FUSEBOX_CPU("popcnt"),
      FUSEBOX_CPU("gfni"),
      FUSEBOX_CPU("avx512f"),
      FUSEBOX_CPU("avx512vl"),
      FUSEBOX_CPU("avx512bw"),
      FUSEBOX_CPU("avx512dq"),
      FUSEBOX_CPU("avx512cd"),
      FUSEBOX_CPU("avx512vbmi"),
      FUSEBOX_CPU("avx512vbmi2"),
      FUSEBOX_CPU("avx512vnni"),
      FUSEBOX_CPU("avx512bf16"),
      FUSEBOX_CPU("avx512fp16"),
      FUSEBOX_CPU("avx512ifma"),
      FUSEBOX_CPU("avx512bitalg"),
      FUSEBOX_CPU("avx512vpopcntdq"),
      FUSEBOX_CPU("avxvnni"),
      FUSEBOX_CPU("amx-tile"),
      FUSEBOX_CPU("amx-bf16"),
      FUSEBOX_CPU("amx-int8"),
  };
#undef FUSEBOX_CPU
  for (const Known &each : known)
    if (each.name == name)
      return each.present;
  return std::nullopt;
}

} // namespace

Result<void> cpu::checkFeatures(const plan::Target &target) {
  __builtin_cpu_init();
  std::string full = target.name + (target.features.empty() ? "" : "," + target.features);
  std::string lacking, unknown;
  for (std::string_view rest = full; !rest.empty();) {
    std::string_view name = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), name.size() + 1));
    if (name.starts_with('+'))
      name.remove_prefix(1);
    if (name.empty())
      continue;
    std::optional<bool> found = present(name);
    std::string &list = found ? lacking : unknown;
    if (!found || !*found)
      (list += list.empty() ? "" : ", ") += name;
  }
  if (!lacking.empty())
    return modelError("the plan is for " + full + ", this CPU lacks " + lacking +
                      "; compile it again with --target cpu");
  if (!unknown.empty())
    return modelError("the plan is for " + full + ", which this program cannot check (" + unknown +
                      "); compile it again with --target cpu");
  return {};
}
