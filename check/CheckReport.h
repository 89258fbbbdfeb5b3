// The result of checking one model, and its forms: text, JSON, Markdown, CSV.
#pragma once

#include "check/Profile.h"
#include "passes/analysis/Analysis.h"
#include "passes/analysis/Facts.h"

#include <nlohmann/json_fwd.hpp>

#include <optional>
#include <string>
#include <vector>

namespace fusebox {

/// Over layers.
struct MeasuredRange {
  double least = 0, median = 0, largest = 0;
};

/// What a run on text found of the scores' deviations (check/measure).
struct MeasuredSummary {
  int64_t tokens = 0;
  MeasuredRange overExpected;      ///< the reference's deviation over the expected one
  MeasuredRange headOverExpected;  ///< likewise, of the head in each layer where it is largest
  MeasuredRange wideOverReference; ///< fused at wide over the reference
};

struct CheckReport {
  std::string model, architecture, path;
  std::string weightHash; ///< of all weight files and the configuration; empty until it is known
  CheckPolicy policy = CheckPolicy::Score; ///< the one that decided
  Status status = Status::Compatible;
  CheckLimits limits;
  std::string profile; ///< names of the profiles applied, with commas
  std::string rounding, activations;
  Analysis analysis;
  std::vector<std::string> guidance; ///< what rebalancing would do, and what training could have done
  std::optional<MeasuredSummary> measured;
  bool cached = false;
};

/// Exit code of a status: 0, 1 or 2.
int exitCode(Status status);
std::string_view policyName(CheckPolicy policy);

/// Verdicts of one node, over all layers.
struct NodeSummary {
  std::string node;
  int64_t regions = 0, wide = 0, fast = 0;
  std::string refusal; ///< the first reason against wide, or else against fast; empty if there is none
  int64_t fp16 = 0;    ///< regions whose values fit fp16
};
std::vector<NodeSummary> summariseNodes(const Analysis &analysis);
/// "197/197": regions that may be fused at wide, of all.
std::string certifiedRegions(const Analysis &analysis);

/// The issues as the report lists them, problematic layers first. `verbose`: every layer.
std::vector<std::string> listIssues(const CheckReport &report, bool verbose);
std::string recommend(const CheckReport &report);

std::string reportText(const CheckReport &report, bool verbose);
/// A comparison of several models.
std::string comparisonText(const std::vector<CheckReport> &reports);
/// A block for a Hugging Face model card: between comment markers, headings from level 2.
std::string reportMarkdown(const CheckReport &report);
/// A row a layer; the header once.
std::string reportCsv(const std::vector<CheckReport> &reports);

/// docs/check-report.schema.json describes it. Infinite numbers are "inf", those that don't apply null.
nlohmann::ordered_json reportJson(const CheckReport &report);
/// The part that the weights determine, as reportJson writes it: the heuristic and the certificates.
Result<Analysis> analysisFromJson(const nlohmann::ordered_json &report, const std::string &file);

} // namespace fusebox
