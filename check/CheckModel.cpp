#include "check/CheckModel.h"

#include "check/CheckCache.h"
#include "check/Guidance.h"
#include "check/Rebalance.h"
#include "frontends/LoadModel.h"
#include "frontends/Resolve.h"
#include "passes/analysis/FactsFromModel.h"

#include <filesystem>
#include <future>
#include <memory>

using namespace fusebox;
namespace fs = std::filesystem;

namespace {

std::string_view roundingName(AttentionRounding rounding) {
  return rounding == AttentionRounding::Sdpa ? "sdpa" : "eager";
}

/// What people call the model: the last part of what they typed, without a suffix for files.
std::string modelName(const std::string &model) {
  fs::path path = fs::path(model).lexically_normal();
  if (!path.has_filename())
    path = path.parent_path();
  std::error_code ignored;
  std::string name = path.filename().string();
  if (name == "." || name.empty())
    name = fs::absolute(path, ignored).filename().string();
  if (path.extension() == ".gguf" || path.extension() == ".safetensors")
    name = path.stem().string();
  return name;
}

Result<CheckLimits> limitsFor(const CheckOptions &options, const std::string &architecture,
                              const std::string &model, std::string &applied) {
  FUSEBOX_ASSIGN(std::vector<Profile> profiles, loadProfiles(userProfileFolder()));
  CheckLimits limits;
  auto apply = [&](const Profile &profile) {
    profile.apply(limits);
    applied += (applied.empty() ? "" : ", ") + profile.name;
  };
  for (const Profile &profile : profiles)
    if (profile.name == "default" || profile.matches(architecture, model))
      apply(profile);
  for (const std::string &name : options.profiles) {
    FUSEBOX_ASSIGN(Profile profile, findProfile(profiles, name));
    apply(profile);
  }
  if (options.threshold)
    limits.heuristic.extreme = *options.threshold;
  if (options.ratioLimit)
    limits.heuristic.ratio = *options.ratioLimit;
  if (options.amplificationLimit)
    limits.heuristic.amplification = *options.amplificationLimit;
  if (options.policy)
    limits.policy = options.policy;
  return limits;
}

/// Fills in what limits and policy make of an analysis.
void judge(CheckReport &report) {
  applyLimits(report.analysis.heuristic, report.limits.heuristic);
  bool applicable = report.analysis.heuristic.applicable();
  report.policy = report.limits.policy.value_or(applicable ? CheckPolicy::Score : CheckPolicy::Certified);
  if (!applicable)
    report.policy = CheckPolicy::Certified;
  report.status =
      report.policy == CheckPolicy::Score ? report.analysis.heuristic.status : report.analysis.certified;
  report.guidance = guidanceFor(report);
}

/// The report from the cache, if the weights' hash is remembered and the result is there.
Result<std::optional<CheckReport>> fromCache(const std::string &hash, const CheckOptions &options,
                                             CheckReport report) {
  std::string asked = options.activations ? std::string(dtypeName(*options.activations)) : "own";
  auto cached = readCache(cacheKey(hash, roundingName(options.rounding), asked));
  if (!cached)
    return std::optional<CheckReport>();
  report.architecture = cached->architecture;
  report.activations = cached->activations;
  FUSEBOX_ASSIGN(report.limits, limitsFor(options, report.architecture, report.model, report.profile));
  if (report.limits.klBudget != cached->klBudget)
    return std::optional<CheckReport>();
  report.analysis = std::move(cached->analysis);
  report.weightHash = hash;
  report.cached = true;
  judge(report);
  return std::optional(std::move(report));
}

/// The same files, through the mappings that the analysis reads: a page is mapped once.
ModelFiles shareMappings(ModelFiles files, const Checkpoint &checkpoint) {
  for (MappedFile &file : files.weights)
    for (const MappedFile &other : checkpoint.files())
      if (file.identity() == other.identity())
        file = other;
  return files;
}

Result<void> analyse(const LoadedModel &model, const CheckOptions &options, CheckReport &report) {
  FactsOptions factsOptions = {options.rounding, options.activations};
  FUSEBOX_ASSIGN(ModelFacts facts, factsFromModel(model, report.model, factsOptions));
  report.architecture = facts.architecture;
  report.activations = dtypeName(facts.activations);
  FUSEBOX_ASSIGN(report.limits, limitsFor(options, report.architecture, report.model, report.profile));
  AnalysisOptions analysis;
  analysis.limits = report.limits.heuristic;
  analysis.klBudget = report.limits.klBudget;
  analysis.threads = options.threads;
  report.analysis = analyzeModel(facts, analysis);
  if (facts.qkNorm != QkNorm::None) {
    Balance balance = levelGains(facts);
    report.analysis.rebalanced = heuristicAfter(facts, balance, report.limits.heuristic);
    report.analysis.rebalanceHeld = balance.held();
  }
  judge(report);
  return {};
}

} // namespace

Result<CheckReport> PendingCheck::finish() && {
  FUSEBOX_ASSIGN(result.weightHash, finishHash());
  return std::move(result);
}

Result<PendingCheck> fusebox::startCheck(const std::string &model, const CheckOptions &options) {
  CheckReport report;
  report.model = modelName(model);
  report.rounding = roundingName(options.rounding);
  FUSEBOX_ASSIGN(report.path, resolveModel(model));
  FUSEBOX_ASSIGN(ModelFiles files, mapModelFiles(report.path));
  FUSEBOX_ASSIGN(auto remembered, hashModel(files, /*read=*/false, options.verifyWeights));
  if (!remembered && options.verifyWeights && options.useCache) {
    FUSEBOX_ASSIGN(remembered, hashModel(files, /*read=*/true, /*verify=*/true));
  }
  if (remembered && options.useCache) {
    FUSEBOX_ASSIGN(auto cached, fromCache(*remembered, options, report));
    if (cached)
      return PendingCheck(*cached, [hash = *remembered]() -> Result<std::string> { return hash; });
  }
  FUSEBOX_ASSIGN(LoadedModel loaded, loadModel(report.path));
  files = shareMappings(std::move(files), loaded.checkpoint);
  // Hashing reads the files once more, beside the analysis, so that neither waits for the other.
  auto hash = std::make_shared<std::future<Result<std::optional<std::string>>>>(std::async(
      remembered || !options.useCache ? std::launch::deferred : std::launch::async, [files, remembered] {
        return remembered ? Result<std::optional<std::string>>(remembered) : hashModel(files, true, false);
      }));
  FUSEBOX_TRY(analyse(loaded, options, report));
  std::string asked = options.activations ? std::string(dtypeName(*options.activations)) : "own";
  bool keep = options.useCache;
  return PendingCheck(report, [hash, report, asked, keep]() mutable -> Result<std::string> {
    FUSEBOX_ASSIGN(auto value, hash->get());
    report.weightHash = *value;
    if (keep)
      writeCache(cacheKey(*value, report.rounding, asked), report);
    return *value;
  });
}

Result<CheckReport> fusebox::checkModel(const std::string &model, const CheckOptions &options) {
  FUSEBOX_ASSIGN(PendingCheck pending, startCheck(model, options));
  return std::move(pending).finish();
}
