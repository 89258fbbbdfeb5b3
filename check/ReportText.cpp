// The report as people read it.
#include "check/CheckReport.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

using namespace fusebox;

namespace {

std::string number(double value) { return std::isnan(value) ? "-" : fmt::format("{:.4g}", value); }

std::string statusLine(const CheckReport &report) {
  if (report.policy == CheckPolicy::Score)
    return fmt::format("Status: {} (heuristic score {:.2f})\n", statusName(report.status),
                       report.analysis.heuristic.score);
  return fmt::format("Status: {} (certified: {} regions at wide)\n", statusName(report.status),
                     certifiedRegions(report.analysis));
}

std::string heuristicLine(const CheckReport &report) {
  const Heuristic &heuristic = report.analysis.heuristic;
  if (!heuristic.applicable())
    return "Heuristic score: not applicable (the model has no q and k norms); the certificate decides\n";
  if (report.policy == CheckPolicy::Certified)
    return fmt::format("Heuristic score: {:.2f} ({})\n", heuristic.score, statusName(heuristic.status));
  return {};
}

/// The layer whose scores can deviate most, under the model's own rounding.
const Verdict *worstScores(const Analysis &analysis) {
  const Verdict *worst = nullptr;
  for (const Verdict &verdict : analysis.verdicts)
    if (verdict.node == node::scores && verdict.contract == Contract::Reference)
      if (!worst || verdict.deviationExpected > worst->deviationExpected ||
          std::isnan(verdict.deviationExpected))
        worst = &verdict;
  return worst;
}

std::string measuredText(const MeasuredSummary &measured) {
  auto range = [](const MeasuredRange &range) {
    return fmt::format("{:.2f}, {:.2f}, {:.2f}", range.least, range.median, range.largest);
  };
  return fmt::format(
      "  Measured on {} tokens, by layer (least, median, largest): reference scores over expected {} (worst "
      "heads {}); fused at wide over the reference {}\n",
      measured.tokens, range(measured.overExpected), range(measured.headOverExpected),
      range(measured.wideOverReference));
}

std::string certificateText(const CheckReport &report) {
  std::string text = "Certificate (regions that may be fused, by contract):\n";
  for (const NodeSummary &node : summariseNodes(report.analysis))
    text += fmt::format(
        "  {:<14} wide {:>7}   fast {:>7}{}\n", node.node, fmt::format("{}/{}", node.wide, node.regions),
        fmt::format("{}/{}", node.fast, node.regions), node.refusal.empty() ? "" : "   " + node.refusal);
  if (const Verdict *own = worstScores(report.analysis)) {
    const Verdict *wide = report.analysis.find(own->layer, node::scores, Contract::Wide);
    text += fmt::format(
        "  Scores deviate most in layer {}: |s| <= {}, expected {} in the reference, {} fused at wide; "
        "worst case {} and {}\n",
        own->layer, number(own->range), number(own->deviationExpected), number(wide->deviationExpected),
        number(own->deviationWorst), number(wide->deviationWorst));
  }
  int64_t fp16 = 0, all = 0;
  for (const NodeSummary &node : summariseNodes(report.analysis)) {
    fp16 += node.fp16;
    all += node.regions;
  }
  if (report.measured)
    text += measuredText(*report.measured);
  text += fmt::format("  Values proved to fit fp16 in {}/{} regions\n", fp16, all);
  return text;
}

std::string layerTable(const CheckReport &report) {
  const Heuristic &heuristic = report.analysis.heuristic;
  if (!heuristic.applicable())
    return {};
  std::string text = fmt::format("\nLayers (heuristic):\n  {:>5} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
                                 "layer", "k max", "k median", "k ratio", "q max", "q median", "q ratio");
  for (const HeuristicLayer &layer : heuristic.layers) {
    GainSummary k = layer.k.value_or(GainSummary()), q = layer.q.value_or(GainSummary());
    text += fmt::format("  {:>5} {:>9.4g} {:>9.4g} {:>9.4g} {:>9.4g} {:>9.4g} {:>9.4g}{}\n", layer.layer,
                        k.max, k.median, k.ratio, q.max, q.median, q.ratio,
                        layer.problematic ? "  problematic" : (layer.extreme ? "  extreme" : ""));
  }
  return text;
}

std::string verdictTable(const CheckReport &report) {
  std::string text =
      fmt::format("\nVerdicts:\n  {:>5} {:<14} {:<9} {:<5} {:<8} {:>10} {:>10} {:>10} {:>10}  reason\n",
                  "layer", "node", "contract", "legal", "basis", "range", "worst", "expected", "KL");
  for (const Verdict &verdict : report.analysis.verdicts) {
    std::string layer = verdict.layer == noLayer ? "-" : std::to_string(verdict.layer);
    text += fmt::format("  {:>5} {:<14} {:<9} {:<5} {:<8} {:>10} {:>10} {:>10} {:>10}  {}\n", layer,
                        verdict.node, contractName(verdict.contract), verdict.legal ? "yes" : "no",
                        basisName(verdict.basis), number(verdict.range), number(verdict.deviationWorst),
                        number(verdict.deviationExpected), number(verdict.kl), verdict.reason);
  }
  return text;
}

/// Breaks at words so that a paragraph fits a terminal.
std::string wrap(const std::string &text, size_t width) {
  std::string result;
  size_t column = 0, at = 0;
  while (at < text.size()) {
    size_t end = std::min(text.find(' ', at), text.size());
    if (column != 0 && column + 1 + end - at > width) {
      result += '\n';
      column = 0;
    } else if (column != 0) {
      result += ' ';
      ++column;
    }
    result += text.substr(at, end - at);
    column += end - at;
    at = end + 1;
  }
  return result;
}

} // namespace

std::string fusebox::reportText(const CheckReport &report, bool verbose) {
  constexpr size_t terminalWidth = 100;
  std::string text = "Model Compatibility Report\n==========================\n";
  text += "Model: " + report.model + "\n" + statusLine(report) + heuristicLine(report) + "\n";
  std::vector<std::string> issues = listIssues(report, verbose);
  text += issues.empty() ? "No issues found.\n" : "Issues found:\n";
  for (const std::string &issue : issues)
    text += "- " + issue + "\n";
  text +=
      "\n" + wrap("Recommendation: " + recommend(report), terminalWidth) + "\n\n" + certificateText(report);
  if (!verbose)
    return text;
  text += layerTable(report) + verdictTable(report);
  if (!report.guidance.empty())
    text += "\nGuidance:\n";
  for (const std::string &line : report.guidance)
    text += "- " + line + "\n";
  return text;
}

std::string fusebox::comparisonText(const std::vector<CheckReport> &reports) {
  size_t width = 5;
  for (const CheckReport &report : reports)
    width = std::max(width, report.model.size());
  std::string text = fmt::format("{:<{}}  {:>12}  {:>8}  {:<12}  {}\n", "model", width, "max K weight",
                                 "K ratio", "status", "certified regions");
  for (const CheckReport &report : reports) {
    double max = 0, ratio = 0;
    for (const HeuristicLayer &layer : report.analysis.heuristic.layers)
      if (layer.k) {
        max = std::max(max, layer.k->max);
        ratio = std::max(ratio, layer.k->ratio);
      }
    bool applicable = report.analysis.heuristic.applicable();
    text += fmt::format("{:<{}}  {:>12}  {:>8}  {:<12}  {}\n", report.model, width,
                        applicable ? fmt::format("{:.1f}", max) : "-",
                        applicable ? fmt::format("{:.1f}", ratio) : "-", statusName(report.status),
                        certifiedRegions(report.analysis));
  }
  return text;
}
