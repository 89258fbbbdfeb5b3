// The check when a model is compiled or run: what the fusion policy makes of the analysis, and what to tell
// the user. The compiler, the tool and the C interface all decide here.
#pragma once

#include "check/CheckModel.h"

#include <nlohmann/json_fwd.hpp>

#include <optional>
#include <string>
#include <vector>

namespace fusebox {

/// `--fusion`: certified fuses what verdicts allow; score everything or nothing, by the heuristic; none
/// nothing; force everything.
enum class FusionPolicy { Certified, Score, None, Force };
std::optional<FusionPolicy> fusionPolicyFrom(std::string_view name);
std::string_view fusionPolicyName(FusionPolicy policy);

struct FusionDecision {
  FusionPolicy policy = FusionPolicy::Certified;
  bool mayFuse = false; ///< whether any region may be formed
  bool obeyVerdicts =
      true; ///< each region needs legal verdicts; false under score (when it allows) and force
  Status status =
      Status::NotApplicable;         ///< of the check under this policy; not applicable: nothing was checked
  std::string certifiedRegions;      ///< "225/225"
  std::vector<std::string> warnings; ///< a line each, for standard error

  /// Whether the region's node may be fused at `contract`.
  bool allows(const Verdict &verdict) const { return mayFuse && (!obeyVerdicts || verdict.legal); }
};

/// What `policy` makes of a finished check. `model` is what the user typed, for the command that shows the
/// report.
FusionDecision decideFusion(const CheckReport &report, FusionPolicy policy, const std::string &model);

/// Checks `model` under `policy` (not at all under none) and decides.
Result<FusionDecision> checkAtLoad(const std::string &model, FusionPolicy policy,
                                   const CheckOptions &options = {});

/// {policy, may_fuse, obey_verdicts, status, certified_regions, warnings}
nlohmann::ordered_json decisionJson(const FusionDecision &decision);

} // namespace fusebox
