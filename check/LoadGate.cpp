#include "check/LoadGate.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

using namespace fusebox;

static constexpr std::pair<FusionPolicy, std::string_view> policies[] = {
    {FusionPolicy::Certified, "certified"},
    {FusionPolicy::Score, "score"},
    {FusionPolicy::None, "none"},
    {FusionPolicy::Force, "force"}};

std::optional<FusionPolicy> fusebox::fusionPolicyFrom(std::string_view name) {
  for (auto [policy, known] : policies)
    if (known == name)
      return policy;
  return std::nullopt;
}

std::string_view fusebox::fusionPolicyName(FusionPolicy policy) {
  for (auto [known, name] : policies)
    if (known == policy)
      return name;
  return "";
}

namespace {

std::string scoreText(const Heuristic &heuristic) {
  return fmt::format("{} (score {:.2f})", statusName(heuristic.status), heuristic.score);
}

void decideCertified(const CheckReport &report, const std::string &model, FusionDecision &decision) {
  decision.mayFuse = true;
  decision.status = report.analysis.certified;
  const Heuristic &heuristic = report.analysis.heuristic;
  if (decision.status != Status::Compatible)
    decision.warnings.push_back(fmt::format("{}: {} regions are certified; the others fall back to standard "
                                            "kernels. `fusebox check {}` shows why",
                                            report.model, decision.certifiedRegions, model));
  if (heuristic.status == Status::Incompatible)
    decision.warnings.push_back(
        fmt::format("{}: the heuristic says {}; the certificate allows {} regions at wide all the "
                    "same (`fusebox check {}`)",
                    report.model, scoreText(heuristic), decision.certifiedRegions, model));
}

void decideByScore(const CheckReport &report, const std::string &model, FusionDecision &decision) {
  const Heuristic &heuristic = report.analysis.heuristic;
  if (!heuristic.applicable()) {
    decision.warnings.push_back(
        fmt::format("{}: has no q and k norms to score; the certificate decides", report.model));
    return decideCertified(report, model, decision);
  }
  decision.status = heuristic.status;
  decision.mayFuse = heuristic.status != Status::Incompatible;
  decision.obeyVerdicts = false;
  if (heuristic.status == Status::Incompatible)
    decision.warnings.push_back(
        fmt::format("{}: {}: falls back to standard kernels. `fusebox check {}` shows the report, "
                    "--fusion=certified fuses what is proved, --force-fused fuses anyway",
                    report.model, scoreText(heuristic), model));
  if (heuristic.status == Status::Warning)
    decision.warnings.push_back(
        fmt::format("{}: {}: fused kernels are used. `fusebox check {}` shows the report", report.model,
                    scoreText(heuristic), model));
}

void decideForced(const CheckReport &report, const std::string &model, FusionDecision &decision) {
  decision.mayFuse = true;
  decision.obeyVerdicts = false;
  decision.status = report.status;
  if (report.analysis.certified != Status::Compatible)
    decision.warnings.push_back(
        fmt::format("WARNING: {}: fusion is forced, though only {} regions are certified: outputs "
                    "may be wrong. `fusebox check {}` shows why",
                    report.model, decision.certifiedRegions, model));
  else if (report.status != Status::Compatible)
    decision.warnings.push_back(
        fmt::format("WARNING: {}: fusion is forced, though the check says {}. `fusebox check {}` "
                    "shows the report",
                    report.model, statusName(report.status), model));
}

} // namespace

FusionDecision fusebox::decideFusion(const CheckReport &report, FusionPolicy policy,
                                     const std::string &model) {
  FusionDecision decision;
  decision.policy = policy;
  decision.certifiedRegions = certifiedRegions(report.analysis);
  switch (policy) {
  case FusionPolicy::Certified:
    decideCertified(report, model, decision);
    break;
  case FusionPolicy::Score:
    decideByScore(report, model, decision);
    break;
  case FusionPolicy::Force:
    decideForced(report, model, decision);
    break;
  case FusionPolicy::None:
    break;
  }
  return decision;
}

Result<FusionDecision> fusebox::checkAtLoad(const std::string &model, FusionPolicy policy,
                                            const CheckOptions &options) {
  if (policy == FusionPolicy::None) {
    FusionDecision decision;
    decision.policy = policy;
    return decision;
  }
  FUSEBOX_ASSIGN(CheckReport report, checkModel(model, options));
  return decideFusion(report, policy, model);
}

nlohmann::ordered_json fusebox::decisionJson(const FusionDecision &decision) {
  return {{"policy", fusionPolicyName(decision.policy)},    {"may_fuse", decision.mayFuse},
          {"obey_verdicts", decision.obeyVerdicts},         {"status", statusName(decision.status)},
          {"certified_regions", decision.certifiedRegions}, {"warnings", decision.warnings}};
}
