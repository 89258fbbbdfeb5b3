#include "check/CheckModel.h"

#include "check/CheckCache.h"
#include "check/Guidance.h"
#include "check/Rebalance.h"
#include "frontends/LoadModel.h"
#include "frontends/Resolve.h"
#include "passes/analysis/FactsFromModel.h"

#include <filesystem>
#include <future>

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

/// The cached result under `key`, judged by today's limits.
Result<std::optional<CheckReport>> fromCache(const std::string &key, const CheckOptions &options,
                                             CheckReport report) {
  auto cached = readCache(key);
  if (!cached)
    return std::optional<CheckReport>();
  report.architecture = cached->architecture;
  report.activations = cached->activations;
  FUSEBOX_ASSIGN(report.limits, limitsFor(options, report.architecture, report.model, report.profile));
  if (report.limits.klBudget != cached->klBudget)
    return std::optional<CheckReport>();
  report.analysis = std::move(cached->analysis);
  if (report.weightHash.empty())
    report.weightHash = cached->weightHash;
  report.cached = true;
  judge(report);
  return std::optional(std::move(report));
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
  ModelMeasures measures = measureWeights(facts, analysisThreads(options.threads));
  report.analysis = judgeModel(facts, measures, analysis);
  Balance balance = levelModel(facts, measures);
  Rebalancing &would = report.analysis.rebalancing;
  would = {balance.moved(), balance.held(), balance.unevenBefore, balance.unevenAfter, {}};
  if (facts.qkNorm != QkNorm::None)
    would.heuristic = heuristicAfter(facts, balance, report.limits.heuristic);
  judge(report);
  return {};
}

/// Where a result may be cached: under the files' identity, and under their content's hash if it is known.
std::vector<std::string> cacheKeys(const ModelFiles &files, const std::string &hash,
                                   const CheckOptions &options) {
  std::string_view rounding = roundingName(options.rounding);
  std::string_view activations = options.activations ? dtypeName(*options.activations) : "own";
  std::vector<std::string> keys;
  if (!options.useCache)
    return keys;
  if (!hash.empty())
    keys.push_back(cacheKey(hash, rounding, activations));
  if (auto identity = identityOf(files); identity && !options.verifyWeights)
    keys.push_back(cacheKey(*identity, rounding, activations));
  return keys;
}

/// Hashes the files if the report needs it and they are not hashed yet.
Result<void> addHash(const ModelFiles &files, const CheckOptions &options, CheckReport &report) {
  if (!options.needHash || !report.weightHash.empty())
    return {};
  FUSEBOX_ASSIGN(auto hash, hashModel(files, /*read=*/true, /*verify=*/false));
  report.weightHash = *hash;
  return {};
}

/// Analyses, and hashes beside it where that is needed: neither waits for the other.
Result<void> analyseAndHash(const ModelFiles &files, const CheckOptions &options, CheckReport &report) {
  FUSEBOX_ASSIGN(LoadedModel model, loadModel(report.path));
  CheckReport hashed;
  hashed.weightHash = report.weightHash;
  auto hashing = std::async(options.needHash ? std::launch::async : std::launch::deferred,
                            [&] { return addHash(files, options, hashed); });
  Result<void> analysed = analyse(model, options, report);
  FUSEBOX_TRY(hashing.get());
  report.weightHash = hashed.weightHash;
  FUSEBOX_TRY(analysed);
  return checkUnchanged(files);
}

} // namespace

Result<CheckReport> fusebox::checkModel(const std::string &model, const CheckOptions &options) {
  CheckReport report;
  report.model = modelName(model);
  report.rounding = roundingName(options.rounding);
  FUSEBOX_ASSIGN(report.path, resolveModel(model));
  FUSEBOX_ASSIGN(ModelFiles files, mapModelFiles(report.path));
  FUSEBOX_ASSIGN(auto known, hashModel(files, /*read=*/options.verifyWeights, options.verifyWeights));
  report.weightHash = known.value_or("");
  for (const std::string &key : cacheKeys(files, report.weightHash, options)) {
    FUSEBOX_ASSIGN(auto cached, fromCache(key, options, report));
    if (!cached)
      continue;
    FUSEBOX_TRY(addHash(files, options, *cached));
    return std::move(*cached);
  }
  FUSEBOX_TRY(analyseAndHash(files, options, report));
  for (const std::string &key : cacheKeys(files, report.weightHash, options))
    writeCache(key, report);
  return report;
}
