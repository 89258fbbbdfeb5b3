#include "check/Database.h"

#include "support/AtomicFile.h"
#include "support/ReadText.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>

using namespace fusebox;
using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

static constexpr const char *toolVersion = "fusebox 0.1.0";

namespace {

Json number(const std::optional<double> &value) {
  if (!value)
    return nullptr;
  return std::isinf(*value) ? Json("inf") : Json(*value);
}

std::optional<double> fromNumber(const Json &value) {
  if (value.is_null())
    return {};
  return value.is_string() ? std::numeric_limits<double>::infinity() : value.get<double>();
}

Json toJson(const DatabaseEntry &entry) {
  return {{"model", entry.model},
          {"architecture", entry.architecture},
          {"weight_hash", entry.weightHash},
          {"status", entry.status},
          {"score", number(entry.score)},
          {"ratio", number(entry.ratio)},
          {"amplification", number(entry.amplification)},
          {"extreme_layers", entry.extremeLayers},
          {"layers", entry.layers},
          {"certified_status", entry.certifiedStatus},
          {"certified_regions", entry.certifiedRegions},
          {"tool", entry.tool}};
}

DatabaseEntry fromJson(const Json &json) {
  DatabaseEntry entry;
  entry.model = json.at("model");
  entry.architecture = json.at("architecture");
  entry.weightHash = json.at("weight_hash");
  entry.status = json.at("status");
  entry.score = fromNumber(json.at("score"));
  entry.ratio = fromNumber(json.at("ratio"));
  entry.amplification = fromNumber(json.at("amplification"));
  entry.extremeLayers = json.at("extreme_layers");
  entry.layers = json.at("layers");
  entry.certifiedStatus = json.at("certified_status");
  entry.certifiedRegions = json.at("certified_regions");
  entry.tool = json.at("tool");
  return entry;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

bool sameKey(const DatabaseEntry &a, const DatabaseEntry &b) {
  return lower(a.model) == lower(b.model) && a.weightHash == b.weightHash;
}

bool sameNumber(const std::optional<double> &a, const std::optional<double> &b) {
  constexpr double digits = 1e-9;
  if (!a || !b)
    return a.has_value() == b.has_value();
  return *a == *b || std::fabs(*a - *b) <= digits * std::max(std::fabs(*a), std::fabs(*b));
}

bool agree(const DatabaseEntry &a, const DatabaseEntry &b) {
  return a.status == b.status && a.certifiedStatus == b.certifiedStatus && sameNumber(a.score, b.score);
}

std::string verdictText(const DatabaseEntry &entry) {
  std::string score = entry.score ? fmt::format(" (score {:.3f})", *entry.score) : "";
  return fmt::format("{}{}, certified {} {}", entry.status, score, entry.certifiedStatus,
                     entry.certifiedRegions);
}

} // namespace

DatabaseEntry fusebox::entryOf(const CheckReport &report) {
  const Heuristic &heuristic = report.analysis.heuristic;
  DatabaseEntry entry;
  entry.model = report.model;
  entry.architecture = report.architecture;
  entry.weightHash = report.weightHash;
  entry.status = statusName(heuristic.status);
  if (heuristic.applicable()) {
    entry.score = heuristic.score;
    entry.ratio = heuristic.ratio;
    entry.amplification = heuristic.amplification;
    entry.extremeLayers = heuristic.extremeLayers;
    entry.layers = heuristic.modelLayers;
  }
  entry.certifiedStatus = statusName(report.analysis.certified);
  entry.certifiedRegions = certifiedRegions(report.analysis);
  entry.tool = toolVersion;
  return entry;
}

std::string DatabaseConflict::text() const {
  return fmt::format("{} ({}): {} says {}; {} says {}", first.model, first.weightHash.substr(0, 12),
                     first.source, verdictText(first), second.source, verdictText(second));
}

Result<Database> Database::shipped() {
  Database database;
  for (const auto &[name, text] : builtinDatabaseTexts())
    FUSEBOX_TRY(database.mergeText(text, "shipped " + name + ".json"));
  return database;
}

Result<void> Database::mergeText(const std::string &text, const std::string &source) {
  size_t index = 0;
  try {
    Json list = Json::parse(text);
    if (!list.is_array())
      return modelError(source + ": a database is a JSON array of entries");
    for (const Json &json : list) {
      DatabaseEntry entry = fromJson(json);
      entry.source = source;
      add(std::move(entry));
      ++index;
    }
    return {};
  } catch (const nlohmann::json::exception &error) {
    return modelError(fmt::format("{}: entry {}: {}", source, index, error.what()));
  }
}

Result<void> Database::merge(const std::string &fileOrFolder) {
  std::error_code failure;
  std::vector<std::string> files;
  if (fs::is_directory(fileOrFolder, failure)) {
    for (fs::directory_iterator entry(fileOrFolder, failure), end; !failure && entry != end;
         entry.increment(failure))
      if (entry->path().extension() == ".json")
        files.push_back(entry->path().string());
    std::sort(files.begin(), files.end());
  } else {
    files.push_back(fileOrFolder);
  }
  for (const std::string &file : files) {
    FUSEBOX_ASSIGN(std::string text, readText(file));
    FUSEBOX_TRY(mergeText(text, file));
  }
  return {};
}

void Database::add(DatabaseEntry entry) {
  for (const DatabaseEntry &known : all)
    if (sameKey(known, entry)) {
      if (!agree(known, entry))
        found.push_back({known, entry});
      return;
    }
  all.push_back(std::move(entry));
}

const DatabaseEntry *Database::find(const std::string &model, const std::string &weightHash) const {
  DatabaseEntry key;
  key.model = model;
  key.weightHash = weightHash;
  for (const DatabaseEntry &entry : all)
    if (sameKey(entry, key))
      return &entry;
  return nullptr;
}

bool Database::knows(const std::string &model) const {
  return std::any_of(all.begin(), all.end(), [&](auto &entry) { return lower(entry.model) == lower(model); });
}

Result<void> fusebox::contribute(const CheckReport &report, const std::string &file) {
  Json list = Json::array();
  DatabaseEntry own = entryOf(report);
  std::error_code ignored;
  if (fs::exists(file, ignored)) {
    FUSEBOX_ASSIGN(std::string text, readText(file));
    Json stored = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!stored.is_array())
      return modelError(file + ": is no database (a JSON array); give another file to --contribute");
    try {
      for (const Json &json : stored)
        if (!sameKey(fromJson(json), own))
          list.push_back(json);
    } catch (const nlohmann::json::exception &error) {
      return modelError(file + ": " + error.what());
    }
  }
  list.push_back(toJson(own));
  std::string text = list.dump(2) + "\n";
  return writeFileAtomically(file, std::as_bytes(std::span(text)));
}

std::string fusebox::compareWithDatabase(const Database &database, const CheckReport &report) {
  const DatabaseEntry *known = database.find(report.model, report.weightHash);
  if (!known)
    return {};
  DatabaseEntry own = entryOf(report);
  if (agree(*known, own))
    return fmt::format("The database agrees ({}, {})", known->source, known->tool);
  return fmt::format(
      "The database differs: {} says {}; this check says {} (other limits or another version?)",
      known->source, verdictText(*known), verdictText(own));
}
