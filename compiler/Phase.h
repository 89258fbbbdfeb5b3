// The phases a model goes through on its way to a plan, by name.
#pragma once

#include <array>
#include <optional>
#include <string_view>

namespace fusebox {

/// In order. The IR after each is accepted by the verifier.
enum class Phase {
  Import,
  BindWeights,
  Analyze,
  Fuse,
  SelectKernels,
  PlanMemory,
  Schedule,
  Codegen,
  Serialize
};
inline constexpr std::array<std::string_view, 9> phaseNames = {"import",   "bind-weights",   "analyze",
                                                               "fuse",     "select-kernels", "plan-memory",
                                                               "schedule", "codegen",        "serialize"};

constexpr std::string_view phaseName(Phase phase) { return phaseNames[unsigned(phase)]; }

constexpr std::optional<Phase> phaseFromName(std::string_view name) {
  for (unsigned i = 0; i < phaseNames.size(); ++i)
    if (phaseNames[i] == name)
      return Phase(i);
  return std::nullopt;
}

} // namespace fusebox
