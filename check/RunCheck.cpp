#include "check/RunCheck.h"

#include "check/Database.h"
#include "check/LoadGate.h"
#include "support/AtomicFile.h"

#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

using namespace fusebox;
using Json = nlohmann::ordered_json;

namespace {

std::optional<CheckFormat> formatOf(const std::string &file) {
  std::string suffix = std::filesystem::path(file).extension().string();
  if (suffix == ".json")
    return CheckFormat::Json;
  if (suffix == ".md")
    return CheckFormat::Markdown;
  if (suffix == ".csv")
    return CheckFormat::Csv;
  if (suffix == ".txt")
    return CheckFormat::Text;
  return std::nullopt;
}

std::string render(const std::vector<CheckReport> &reports, CheckFormat format, bool verbose) {
  std::string text;
  switch (format) {
  case CheckFormat::Json: {
    if (reports.size() == 1)
      return reportJson(reports[0]).dump(2) + "\n";
    Json list = Json::array();
    for (const CheckReport &report : reports)
      list.push_back(reportJson(report));
    return list.dump(2) + "\n";
  }
  case CheckFormat::Csv:
    return reportCsv(reports);
  case CheckFormat::Markdown:
    for (const CheckReport &report : reports)
      text += (text.empty() ? "" : "\n") + reportMarkdown(report);
    return text;
  case CheckFormat::Text:
    for (const CheckReport &report : reports)
      text += (text.empty() ? "" : "\n") + reportText(report, verbose);
    return text;
  }
  return text;
}

/// State of one run over all models.
class Runner {
public:
  Runner(const CheckRun &run, std::ostream &out, std::ostream &errors) : run(run), out(out), errors(errors) {}

  int all() {
    for (const std::string &file : run.exports)
      if (!formatOf(file)) {
        fail(usageError("--export: '" + file + "' ends in none of .json, .md, .csv, .txt"));
        return worst;
      }
    if (auto opened = openDatabase(); !opened) {
      fail(opened.error());
      return worst;
    }
    for (const std::string &model : run.models)
      if (auto checked = one(model); !checked)
        fail(checked.error());
    if (!reports.empty())
      finish();
    return worst;
  }

private:
  /// Hashing reads all files: not for nothing.
  bool needsHash() const {
    return !run.contribute.empty() || !run.databases.empty() || !run.exports.empty() ||
           run.format != CheckFormat::Text;
  }

  Result<void> openDatabase() {
    FUSEBOX_ASSIGN(database, Database::shipped());
    for (const std::string &path : run.databases)
      FUSEBOX_TRY(database.merge(path));
    for (const DatabaseConflict &conflict : database.conflicts())
      errors << "fusebox: conflict in the database: " << conflict.text() << "\n";
    return {};
  }

  Result<void> one(const std::string &model) {
    CheckOptions options = run.options;
    options.needHash |= needsHash();
    FUSEBOX_ASSIGN(CheckReport report, checkModel(model, options));
    if (run.measure)
      FUSEBOX_TRY(run.measure(report));
    worst = std::max(worst, exitCode(report.status));
    bool single = run.models.size() == 1, text = run.format == CheckFormat::Text && !run.quiet;
    if (single && text)
      out << reportText(report, run.verbose);
    std::string known = report.weightHash.empty() ? "" : compareWithDatabase(database, report);
    if (!known.empty() && text)
      out << (single ? "  " : report.model + ": ") << known << "\n";
    if (!run.contribute.empty())
      FUSEBOX_TRY(fusebox::contribute(report, run.contribute));
    reports.push_back(std::move(report));
    return {};
  }

  void finish() {
    if (!run.quiet && run.format != CheckFormat::Text)
      out << render(reports, run.format, run.verbose);
    else if (!run.quiet && run.models.size() > 1)
      out << (run.verbose ? render(reports, CheckFormat::Text, true) + "\n" : "") << comparisonText(reports);
    for (const std::string &file : run.exports) {
      std::string text = render(reports, *formatOf(file), true);
      if (auto written = writeFileAtomically(file, std::as_bytes(std::span(text))); !written)
        fail(written.error());
    }
  }

  void fail(const Error &error) {
    errors << "fusebox: " << error.message << "\n";
    worst = std::max(worst, int(error.kind));
  }

  const CheckRun &run;
  std::ostream &out, &errors;
  Database database;
  std::vector<CheckReport> reports;
  int worst = 0;
};

Result<void> readOption(const std::string &key, const Json &value, CheckOptions &options,
                        std::optional<FusionPolicy> &fusion) {
  if (key == "policy") {
    if (value != "score" && value != "certified")
      return usageError("check options: policy is score or certified");
    options.policy = value == "score" ? CheckPolicy::Score : CheckPolicy::Certified;
  } else if (key == "threshold") {
    options.threshold = value.get<double>();
  } else if (key == "ratio_limit") {
    options.ratioLimit = value.get<double>();
  } else if (key == "amplification_limit") {
    options.amplificationLimit = value.get<double>();
  } else if (key == "profiles") {
    options.profiles = value.get<std::vector<std::string>>();
  } else if (key == "rounding") {
    if (value != "sdpa" && value != "eager")
      return usageError("check options: rounding is sdpa or eager");
    options.rounding = value == "eager" ? AttentionRounding::Eager : AttentionRounding::Sdpa;
  } else if (key == "activations") {
    options.activations = dtypeFromName(value.get<std::string>());
    if (options.activations != DType::BF16 && options.activations != DType::F32 &&
        options.activations != DType::F16)
      return usageError("check options: activations is bf16, f16 or f32");
  } else if (key == "cache") {
    options.useCache = value.get<bool>();
  } else if (key == "verify_weights") {
    options.verifyWeights = value.get<bool>();
  } else if (key == "threads") {
    options.threads = value.get<unsigned>();
  } else if (key == "fusion") {
    fusion = fusionPolicyFrom(value.get<std::string>());
    if (!fusion)
      return usageError("check options: fusion is certified, score, none or force");
  } else {
    return usageError("check options: unknown key '" + key + "'");
  }
  return {};
}

} // namespace

int fusebox::runCheck(const CheckRun &run, std::ostream &out, std::ostream &errors) {
  return Runner(run, out, errors).all();
}

Result<CheckJson> fusebox::checkToJson(const std::string &model, const std::string &options) {
  CheckOptions parsed;
  std::optional<FusionPolicy> fusion;
  try {
    Json json = options.empty() ? Json::object() : Json::parse(options);
    if (!json.is_object())
      return usageError("check options: a JSON object is expected");
    for (const auto &[key, value] : json.items())
      FUSEBOX_TRY(readOption(key, value, parsed, fusion));
  } catch (const nlohmann::json::exception &error) {
    return usageError(std::string("check options: ") + error.what());
  }
  parsed.needHash = !fusion; // at load the compiler hashes the weights by itself
  FUSEBOX_ASSIGN(CheckReport report, checkModel(model, parsed));
  Json json = reportJson(report);
  if (fusion)
    json["fusion"] = decisionJson(decideFusion(report, *fusion, model));
  return CheckJson{json.dump(2), exitCode(report.status)};
}
