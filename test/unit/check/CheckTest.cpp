// fusebox check as a function: reports, exports, exit codes, cache, profiles, database.
#include "check/Database.h"
#include "check/LoadGate.h"
#include "check/RunCheck.h"
#include "support/Float.h"
#include "test/unit/check/ModelFolder.h"
#include "test/unit/check/Schema.h"

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sstream>
#include <sys/stat.h>
#include <thread>

using namespace fusebox;
using namespace fusebox::test;
using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

namespace {

std::string golden(const std::string &name) { return FUSEBOX_TEST_DATA "/golden/" + name; }

struct Outcome {
  int code;
  std::string out, errors;
};
Outcome check(CheckRun run) {
  std::ostringstream out, errors;
  int code = runCheck(run, out, errors);
  return {code, out.str(), errors.str()};
}

constexpr const char *kNorm0 = "model.layers.0.self_attn.k_norm.weight";
constexpr const char *kNorm1 = "model.layers.1.self_attn.k_norm.weight";

/// All weights 1, the first `value`.
Edit outlier(double value) {
  return [value](std::vector<uint16_t> &weights) {
    weights.assign(weights.size(), f32ToBf16(1));
    weights[0] = f32ToBf16(float(value));
  };
}

class Check : public testing::Test {
protected:
  TemporaryFolder folder;
};

TEST_F(Check, ReportsAnIncompatibleModelInTheKnownForm) {
  Outcome outcome = check({.models = {golden("qwen3-extreme-k")}});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_TRUE(outcome.out.starts_with("Model Compatibility Report\n"
                                      "==========================\n"
                                      "Model: qwen3-extreme-k\n"
                                      "Status: INCOMPATIBLE (heuristic score 0.00)\n"
                                      "\n"
                                      "Issues found:\n"
                                      "- Layer 0: K norm max weight = 96.5, max/median = "));
  EXPECT_THAT(outcome.out, HasSubstr("(limits: 10.0, 20.0)\n"));
  EXPECT_THAT(outcome.out, HasSubstr("- 3/3 layers have extreme weights\n"));
  EXPECT_THAT(outcome.out, HasSubstr("Recommendation: Use standard kernels only"));
  EXPECT_THAT(outcome.out, HasSubstr("Certificate (regions that may be fused, by contract):"));
  EXPECT_EQ(outcome.errors, "");
}

/// Cells of the rows of docs/check.md that name a model in the repository, the path first.
std::vector<std::vector<std::string>> documentedStatuses() {
  std::vector<std::vector<std::string>> rows;
  std::ifstream file(FUSEBOX_DOCS "/check.md");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("| `test/data/golden/"))
      continue;
    std::istringstream cells(line.substr(1));
    std::vector<std::string> &row = rows.emplace_back();
    for (std::string cell; std::getline(cells, cell, '|');)
      row.push_back(cell.substr(1, cell.size() - 2));
    row[0] = row[0].substr(1, row[0].size() - 2);
  }
  return rows;
}

TEST_F(Check, StatusesOfAllGoldensAreTheDocumentedOnes) {
  auto rows = documentedStatuses();
  ASSERT_EQ(rows.size(), 6u);
  for (const std::vector<std::string> &row : rows) {
    auto report = checkModel(FUSEBOX_DOCS "/../" + row[0], {});
    ASSERT_TRUE(report) << report.error().message;
    const Heuristic &heuristic = report->analysis.heuristic;
    double max = 0, ratio = 0;
    for (const HeuristicLayer &layer : heuristic.layers) {
      max = std::max(max, layer.k->max);
      ratio = std::max(ratio, layer.k->ratio);
    }
    auto number = [&](const char *format, double value) {
      char text[32] = "-";
      if (heuristic.applicable())
        std::snprintf(text, sizeof text, format, value);
      return std::string(text);
    };
    std::vector<std::string> found = {row[0],
                                      number("%.1f", max),
                                      number("%.1f", ratio),
                                      number("%.2f", heuristic.score),
                                      std::string(statusName(heuristic.status)),
                                      std::string(statusName(report->analysis.certified)),
                                      certifiedRegions(report->analysis)};
    EXPECT_EQ(found, row);
  }
  EXPECT_EQ(
      check({.models = {golden("qwen3-extreme-k")}, .options = {.policy = CheckPolicy::Certified}}).code, 0);
}

TEST_F(Check, SyntheticModelsForEachStatus) {
  writeModel("qwen3", folder / "warning", {{kNorm0, outlier(17)}});
  writeModel("qwen3", folder / "compatible", {{kNorm0, outlier(9)}});
  writeModel("qwen3", folder / "incompatible", {{kNorm0, outlier(40)}, {kNorm1, outlier(40)}});
  EXPECT_EQ(check({.models = {folder / "compatible"}}).code, 0);
  EXPECT_EQ(check({.models = {folder / "warning"}}).code, 1);
  Outcome bad = check({.models = {folder / "incompatible"}});
  EXPECT_EQ(bad.code, 2);
  EXPECT_THAT(bad.out, HasSubstr("Estimated error amplification: 1600x"));
}

TEST_F(Check, ThresholdsOverrideProfiles) {
  writeModel("qwen3", folder / "model", {{kNorm0, outlier(9)}});
  CheckRun run = {.models = {folder / "model"}};
  run.options.threshold = 8;
  run.options.ratioLimit = 8;
  Outcome outcome = check(run);
  EXPECT_THAT(outcome.out, HasSubstr("(limits: 8.0, 8.0)"));
  EXPECT_THAT(outcome.out, HasSubstr("- 1/3 layers have extreme weights"));
}

TEST_F(Check, WeightsThatAreNoNumbersGiveAClearResult) {
  for (double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    writeModel("qwen3", folder / "bad", {{kNorm0, outlier(bad)}});
    Outcome outcome = check({.models = {folder / "bad"}, .exports = {folder / "bad.json"}});
    EXPECT_EQ(outcome.code, 2);
    EXPECT_THAT(outcome.out, HasSubstr("1 weights of the q and k norms are NaN or infinite"));
    auto json = nlohmann::json::parse(readText(folder / "bad.json"));
    EXPECT_EQ(json["heuristic"]["ratio"], "inf");
    EXPECT_EQ(json["certified_status"], "INCOMPATIBLE");
  }
  for (double size : {0.0, 0x1p-130}) {
    writeModel("qwen3", folder / "small",
               {{kNorm0, [&](auto &weights) { weights.assign(weights.size(), f32ToBf16(float(size))); }}});
    EXPECT_EQ(check({.models = {folder / "small"}}).code, 0) << size;
  }
}

TEST_F(Check, AMissingNormIsAnErrorNotAGainOfOne) {
  writeModel("qwen3", folder / "bad", {{kNorm1, [](auto &weights) { weights.clear(); }}});
  Outcome outcome = check({.models = {folder / "bad"}});
  EXPECT_EQ(outcome.code, 11);
  EXPECT_THAT(outcome.errors, HasSubstr(kNorm1));
  EXPECT_EQ(outcome.out, "");
}

TEST_F(Check, EveryKindOfBadWeightIsSeenWhereverItLies) {
  const char *tensors[] = {"model.layers.1.self_attn.q_proj.weight",
                           "model.layers.2.self_attn.o_proj.weight",
                           "model.layers.0.mlp.down_proj.weight",
                           "model.layers.1.input_layernorm.weight",
                           "model.norm.weight",
                           "model.embed_tokens.weight"};
  for (const char *tensor : tensors)
    for (uint16_t bad : {uint16_t(0x7fc1), uint16_t(0xff80)}) { // NaN, -Inf
      writeModel("qwen3", folder / "bad",
                 {{tensor, [&](auto &weights) { weights[weights.size() / 2] = bad; }}});
      CheckRun run = {.models = {folder / "bad"}, .options = {.policy = CheckPolicy::Certified}};
      Outcome outcome = check(run);
      EXPECT_EQ(outcome.code, 2) << tensor;
      EXPECT_THAT(outcome.out, HasSubstr("range not proved: a weight is NaN or infinite")) << tensor;
    }
  // Zeros and denormals are numbers: nothing is wrong with a layer that does nothing.
  for (uint16_t small : {uint16_t(0), uint16_t(1), uint16_t(0x807f)})
    for (const char *tensor : tensors) {
      writeModel("qwen3", folder / "small",
                 {{tensor, [&](auto &weights) { std::fill(weights.begin(), weights.end(), small); }}});
      Outcome outcome = check({.models = {folder / "small"}, .options = {.policy = CheckPolicy::Certified}});
      EXPECT_EQ(outcome.code, 0) << tensor << "\n" << outcome.out;
    }
}

TEST_F(Check, ModelsWithoutNormsGetACertificateNotAScore) {
  for (const char *name : {"llama", "ernie4_5"}) {
    Outcome outcome = check({.models = {golden(name)}, .format = CheckFormat::Json});
    auto json = nlohmann::json::parse(outcome.out);
    EXPECT_EQ(json["heuristic"]["applicable"], false);
    EXPECT_EQ(json["heuristic"]["status"], "NOT_APPLICABLE");
    EXPECT_TRUE(json["heuristic"]["score"].is_null());
    EXPECT_EQ(json["policy"], "certified");
    EXPECT_EQ(json["status"], "COMPATIBLE");
    Outcome text = check({.models = {golden(name)}});
    EXPECT_THAT(text.out, HasSubstr("Heuristic score: not applicable"));
    EXPECT_THAT(text.out, Not(HasSubstr("1.00")));
  }
}

TEST_F(Check, JsonFitsTheSchema) {
  std::ifstream file(FUSEBOX_DOCS "/check-report.schema.json");
  auto schema = nlohmann::json::parse(file);
  writeModel("qwen3", folder / "bad", {{kNorm0, outlier(std::numeric_limits<double>::infinity())}});
  for (const std::string &model :
       {golden("qwen3"), golden("qwen3-extreme-k"), golden("llama"), folder / "bad"}) {
    Outcome outcome = check({.models = {model}, .format = CheckFormat::Json});
    auto problems = validate(nlohmann::json::parse(outcome.out), schema);
    EXPECT_TRUE(problems.empty()) << model << ": " << (problems.empty() ? "" : problems[0]);
  }
  auto withDecision = checkToJson(golden("qwen3"), R"({"fusion": "certified"})");
  ASSERT_TRUE(withDecision);
  EXPECT_TRUE(validate(nlohmann::json::parse(withDecision->report), schema).empty());
  CheckReport report = *checkModel(golden("llama"), {});
  report.measured = MeasuredSummary{7, {0.5, 1, 2}, {0.6, 1, 3}, {0.4, 0.5, 0.6}};
  EXPECT_TRUE(validate(nlohmann::json::parse(reportJson(report).dump()), schema).empty());
  EXPECT_FALSE(validate(nlohmann::json::object(), schema).empty()) << "the validator must refuse something";
}

TEST_F(Check, ExportsBySuffix) {
  CheckRun run = {.models = {golden("qwen3-extreme-k")}, .quiet = true};
  for (const char *name : {"r.json", "r.md", "r.csv", "r.txt"})
    run.exports.push_back(folder / name);
  Outcome outcome = check(run);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(nlohmann::json::parse(readText(folder / "r.json"))["heuristic"]["extreme_layers"], 3);
  EXPECT_THAT(readText(folder / "r.md"), HasSubstr("## Kernel fusion compatibility"));
  EXPECT_THAT(readText(folder / "r.md"), Not(HasSubstr("\n# "))) << "a card has one title";
  std::string csv = readText(folder / "r.csv");
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 4) << "a header and a row a layer";
  EXPECT_THAT(readText(folder / "r.txt"), HasSubstr("Verdicts:"));
  Outcome wrong = check({.models = {golden("qwen3")}, .exports = {folder / "r.pdf"}});
  EXPECT_EQ(wrong.code, 10);
  EXPECT_THAT(wrong.errors, HasSubstr(".json, .md, .csv, .txt"));
}

TEST_F(Check, SeveralModelsAreCompared) {
  Outcome outcome = check({.models = {golden("qwen3"), golden("qwen3-extreme-k"), golden("llama")}});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.out, HasSubstr("max K weight"));
  EXPECT_THAT(outcome.out, HasSubstr("INCOMPATIBLE"));
  Outcome missing = check({.models = {golden("qwen3"), folder / "nowhere"}});
  EXPECT_EQ(missing.code, 11);
  EXPECT_THAT(missing.out, HasSubstr("qwen3"));
  EXPECT_THAT(missing.errors, HasSubstr("nowhere"));
}

TEST_F(Check, VerboseListsLayersNodesAndGuidance) {
  Outcome outcome = check({.models = {golden("qwen3-extreme-k")}, .verbose = true});
  EXPECT_THAT(outcome.out, HasSubstr("Layers (heuristic):"));
  EXPECT_THAT(outcome.out, HasSubstr("mlp_residual   wide"));
  EXPECT_THAT(outcome.out, HasSubstr("fusebox rebalance would bring the score from 0.00 to"));
  EXPECT_THAT(outcome.out, HasSubstr("decoupled weight decay on the k norm weights of layers 0-2"));
}

// ---- Cache.

/// Hashes are remembered for files that have been settled for 2 s. ctime can't be set: models for all tests
/// are written first, and time passes once.
class CheckCache : public testing::Test {
protected:
  static void SetUpTestSuite() {
    models = std::make_unique<TemporaryFolder>();
    for (const char *name : {"same", "changed", "damaged", "concurrent"})
      writeModel("qwen3-extreme-k", *models / name);
    std::this_thread::sleep_for(std::chrono::milliseconds(2100));
  }
  static void TearDownTestSuite() { models.reset(); }

  static std::unique_ptr<TemporaryFolder> models;
  TemporaryFolder folder; ///< with the cache
};
std::unique_ptr<TemporaryFolder> CheckCache::models;

CheckReport checked(const std::string &model, CheckOptions options = {}) {
  auto report = checkModel(model, options);
  EXPECT_TRUE(report) << (report ? "" : report.error().message);
  return report ? *report : CheckReport();
}

TEST_F(CheckCache, GivesTheSameReport) {
  std::string model = *models / "same";
  CheckReport first = checked(model), second = checked(model);
  EXPECT_FALSE(first.cached);
  EXPECT_TRUE(second.cached);
  EXPECT_EQ(reportText(first, true), reportText(second, true));
  EXPECT_EQ(reportJson(first), reportJson(second));

  // Other limits are judged anew, from the same entry.
  CheckOptions lenient;
  lenient.threshold = 1000;
  CheckReport third = checked(model, lenient);
  EXPECT_TRUE(third.cached);
  EXPECT_EQ(third.analysis.heuristic.extremeLayers, 0);
  // Another rounding is another result.
  CheckOptions eager;
  eager.rounding = AttentionRounding::Eager;
  EXPECT_FALSE(checked(model, eager).cached);
}

TEST_F(CheckCache, ChangedByteWithRestoredTimesIsNoticed) {
  std::string model = *models / "changed", file = model + "/model.safetensors";
  EXPECT_FALSE(checked(model).cached);
  EXPECT_TRUE(checked(model).cached);
  struct stat before;
  ASSERT_EQ(stat(file.c_str(), &before), 0);
  {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(-1, std::ios::end);
    stream.put('\x3d');
  }
  struct timespec times[2] = {before.st_atim, before.st_mtim};
  ASSERT_EQ(utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
  CheckReport after = checked(model);
  EXPECT_FALSE(after.cached) << "ctime tells";
  CheckOptions verify;
  verify.verifyWeights = true;
  verify.needHash = true;
  CheckReport verified = checked(model, verify);
  EXPECT_FALSE(verified.cached);
  EXPECT_EQ(verified.weightHash.size(), 32u);
  EXPECT_TRUE(checked(model, verify).cached) << "by content";
}

TEST_F(CheckCache, DamagedCacheEntriesAreIgnored) {
  std::string model = *models / "damaged";
  checked(model);
  for (const auto &entry : fs::directory_iterator(folder / "cache/fusebox/check")) {
    std::string text = readText(entry.path().string());
    std::ofstream(entry.path(), std::ios::trunc) << text.substr(0, text.size() / 2);
  }
  CheckReport again = checked(model);
  EXPECT_FALSE(again.cached);
  EXPECT_EQ(again.status, Status::Incompatible);
  EXPECT_TRUE(checked(model).cached) << "the entry was written anew";
}

TEST_F(CheckCache, ConcurrentRunsAgree) {
  std::string model = *models / "concurrent";
  std::vector<std::jthread> runs;
  std::array<CheckReport, 6> reports;
  for (CheckReport &report : reports)
    runs.emplace_back([&] { report = checked(model); });
  runs.clear();
  for (const CheckReport &report : reports)
    EXPECT_EQ(reportText(report, true), reportText(reports[0], true));
  EXPECT_TRUE(checked(model).cached);
}

// ---- Profiles.

TEST_F(Check, UserProfilesApplyByArchitecture) {
  fs::create_directories(folder / "config/fusebox/profiles");
  std::ofstream(folder / "config/fusebox/profiles/mine.yaml")
      << "match:\n  architecture: qwen*\nlimits:\n  extreme: 1000\n  ratio: 1000\n";
  CheckReport report = checked(golden("qwen3-extreme-k"));
  EXPECT_EQ(report.analysis.heuristic.extremeLayers, 0);
  EXPECT_THAT(report.profile, HasSubstr("mine"));
}

TEST_F(Check, ProfileErrorsNameFileAndLine) {
  std::ofstream(folder / "bad.yaml") << "description: x\nlimits:\n  extrem: 3\n";
  Outcome outcome = check({.models = {golden("qwen3")}, .options = {.profiles = {folder / "bad.yaml"}}});
  EXPECT_EQ(outcome.code, 11);
  EXPECT_THAT(outcome.errors, HasSubstr("bad.yaml:3: unknown limit 'extrem'"));
  std::ofstream(folder / "worse.yaml") << "limits: {extreme: -1}\n";
  outcome = check({.models = {golden("qwen3")}, .options = {.profiles = {folder / "worse.yaml"}}});
  EXPECT_THAT(outcome.errors, HasSubstr("worse.yaml:1: "));
  outcome = check({.models = {golden("qwen3")}, .options = {.profiles = {"nosuch"}}});
  EXPECT_EQ(outcome.code, 10);
  EXPECT_THAT(outcome.errors, HasSubstr("strict"));
}

TEST_F(Check, ShippedProfilesParse) {
  auto profiles = loadProfiles("");
  ASSERT_TRUE(profiles);
  EXPECT_GE(profiles->size(), 4u);
  EXPECT_EQ(checked(golden("qwen3"), {.profiles = {"certified"}}).policy, CheckPolicy::Certified);
}

TEST(Pattern, StarsMatchRuns) {
  EXPECT_TRUE(fitsPattern("qwen*", "Qwen3"));
  EXPECT_TRUE(fitsPattern("*3*b", "qwen3-0.6b"));
  EXPECT_FALSE(fitsPattern("qwen", "qwen3"));
  EXPECT_TRUE(fitsPattern("*", ""));
}

// ---- Database.

TEST_F(Check, ContributedEntriesMergeAndConflictsShow) {
  CheckRun run = {.models = {golden("qwen3-extreme-k")}, .quiet = true, .contribute = folder / "a.json"};
  check(run);
  check(run);
  auto entries = nlohmann::json::parse(readText(folder / "a.json"));
  ASSERT_EQ(entries.size(), 1u) << "the same key is replaced";
  EXPECT_EQ(entries[0]["status"], "INCOMPATIBLE");
  entries[0]["status"] = "COMPATIBLE";
  entries[0]["score"] = 1.0;
  std::ofstream(folder / "b.json") << entries.dump();
  Outcome outcome =
      check({.models = {golden("qwen3-extreme-k")}, .databases = {folder / "b.json", folder / "a.json"}});
  EXPECT_THAT(outcome.errors, HasSubstr("conflict in the database: qwen3-extreme-k"));
  std::ofstream(folder / "c.json") << "[{]";
  EXPECT_EQ(check({.models = {golden("qwen3")}, .databases = {folder / "c.json"}}).code, 11);
}

// ---- At load.

TEST_F(Check, PoliciesDecideAtLoad) {
  CheckReport extreme = checked(golden("qwen3-extreme-k"));
  FusionDecision certified = decideFusion(extreme, FusionPolicy::Certified, "m");
  EXPECT_TRUE(certified.mayFuse);
  EXPECT_TRUE(certified.obeyVerdicts);
  ASSERT_EQ(certified.warnings.size(), 1u);
  EXPECT_THAT(certified.warnings[0], HasSubstr("the heuristic says INCOMPATIBLE"));

  FusionDecision score = decideFusion(extreme, FusionPolicy::Score, "m");
  EXPECT_FALSE(score.mayFuse);
  ASSERT_EQ(score.warnings.size(), 1u);
  EXPECT_THAT(score.warnings[0], HasSubstr("falls back to standard kernels. `fusebox check m`"));

  FusionDecision force = decideFusion(extreme, FusionPolicy::Force, "m");
  EXPECT_TRUE(force.mayFuse);
  EXPECT_FALSE(force.obeyVerdicts);
  ASSERT_EQ(force.warnings.size(), 1u);
  EXPECT_TRUE(force.warnings[0].starts_with("WARNING: "));

  CheckReport calm = checked(golden("qwen3"));
  for (FusionPolicy policy : {FusionPolicy::Certified, FusionPolicy::Score, FusionPolicy::Force}) {
    EXPECT_TRUE(decideFusion(calm, policy, "m").mayFuse);
    EXPECT_TRUE(decideFusion(calm, policy, "m").warnings.empty());
  }
  auto none = checkAtLoad("/does/not/exist", FusionPolicy::None);
  ASSERT_TRUE(none) << "nothing is read under none";
  EXPECT_FALSE(none->mayFuse);
}

TEST_F(Check, ScoreWithoutNormsFallsBackToTheCertificate) {
  FusionDecision decision = decideFusion(checked(golden("llama")), FusionPolicy::Score, "m");
  EXPECT_TRUE(decision.mayFuse);
  EXPECT_TRUE(decision.obeyVerdicts);
}

TEST_F(Check, JsonOptionsAreChecked) {
  EXPECT_TRUE(checkToJson(golden("qwen3"), ""));
  auto unknown = checkToJson(golden("qwen3"), R"({"treshold": 3})");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().kind, ErrorKind::Usage);
  EXPECT_FALSE(checkToJson(golden("qwen3"), "{"));
  EXPECT_FALSE(checkToJson(golden("qwen3"), R"({"threshold": "x"})"));
}

} // namespace
