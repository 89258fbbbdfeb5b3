// The report as Markdown for a model card, and as CSV.
#include "check/CheckReport.h"

#include <cmath>
#include <fmt/format.h>

using namespace fusebox;

namespace {

std::string number(double value) {
  if (std::isnan(value))
    return {};
  return std::isinf(value) ? "inf" : fmt::format("{:.9g}", value);
}

/// A pipe or line break would end a table's cell.
std::string cell(const std::string &text) {
  std::string result;
  for (char c : text)
    result += c == '|' ? "\\|" : (c == '\n' ? " " : std::string(1, c));
  return result;
}

/// A CSV field: quoted where it must be (RFC 4180).
std::string field(const std::string &text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos)
    return text;
  std::string quoted = "\"";
  for (char c : text)
    quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

std::string gainFields(const std::optional<GainSummary> &gain) {
  if (!gain)
    return ",,,";
  return fmt::format("{},{},{},{}", number(gain->max), number(gain->median), number(gain->ratio),
                     number(gain->variance));
}

const HeuristicLayer *heuristicOf(const CheckReport &report, int64_t layer) {
  for (const HeuristicLayer &candidate : report.analysis.heuristic.layers)
    if (candidate.layer == layer)
      return &candidate;
  return nullptr;
}

} // namespace

std::string fusebox::reportMarkdown(const CheckReport &report) {
  const Heuristic &heuristic = report.analysis.heuristic;
  std::string text = "<!-- fusebox check: begin -->\n## Kernel fusion compatibility\n\n";
  text += fmt::format(
      "| | |\n|---|---|\n| Model | {} |\n| Status | **{}** (policy `{}`) |\n| Heuristic score | {} |\n"
      "| Certified regions | {} at contract `wide` |\n| Rounding | {}, {} |\n",
      cell(report.model), statusName(report.status), policyName(report.policy),
      heuristic.applicable() ? fmt::format("{:.2f}", heuristic.score) : "not applicable",
      certifiedRegions(report.analysis), report.activations, report.rounding);
  if (!report.weightHash.empty())
    text += fmt::format("| Weights | `{}` |\n", report.weightHash);
  std::vector<std::string> issues = listIssues(report, false);
  text += issues.empty() ? "" : "\n### Issues\n\n";
  for (const std::string &issue : issues)
    text += "- " + issue + "\n";
  text += "\n" + recommend(report) +
          "\n\n### Certificate\n\n| region | wide | fast | refused because |\n|---|---|---|---|\n";
  for (const NodeSummary &node : summariseNodes(report.analysis))
    text += fmt::format("| `{}` | {}/{} | {}/{} | {} |\n", node.node, node.wide, node.regions, node.fast,
                        node.regions, cell(node.refusal));
  if (heuristic.applicable()) {
    text += "\n<details><summary>Norm weights by layer</summary>\n\n| layer | k max | k max/median | q max | "
            "q max/median "
            "|\n|---|---|---|---|---|\n";
    for (const HeuristicLayer &layer : heuristic.layers) {
      auto side = [](const std::optional<GainSummary> &gain) {
        return gain ? fmt::format("{:.4g} | {:.4g}", gain->max, gain->ratio) : std::string("- | -");
      };
      text += fmt::format("| {} | {} | {} |\n", layer.layer, side(layer.k), side(layer.q));
    }
    text += "\n</details>\n";
  }
  return text + "\nMade by `fusebox check`.\n<!-- fusebox check: end -->\n";
}

std::string fusebox::reportCsv(const std::vector<CheckReport> &reports) {
  std::string text =
      "model,status,policy,score,certified_regions,layer,k_max,k_median,k_ratio,k_variance,q_max,q_median,"
      "q_ratio,q_variance,problematic,extreme,scores_range,scores_worst_reference,"
      "scores_expected_reference,scores_worst_wide,scores_expected_wide\n";
  for (const CheckReport &report : reports) {
    const Heuristic &heuristic = report.analysis.heuristic;
    for (const Verdict &own : report.analysis.verdicts) {
      if (own.node != node::scores || own.contract != Contract::Reference)
        continue;
      const Verdict *wide = report.analysis.find(own.layer, node::scores, Contract::Wide);
      const HeuristicLayer *layer = heuristicOf(report, own.layer);
      text += fmt::format(
          "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n", field(report.model), statusName(report.status),
          policyName(report.policy), heuristic.applicable() ? number(heuristic.score) : "",
          certifiedRegions(report.analysis), own.layer, layer ? gainFields(layer->k) : ",,,",
          layer ? gainFields(layer->q) : ",,,", layer ? std::to_string(layer->problematic) : "",
          layer ? std::to_string(layer->extreme) : "", number(own.range), number(own.deviationWorst),
          number(own.deviationExpected), number(wide->deviationWorst), number(wide->deviationExpected));
    }
  }
  return text;
}
