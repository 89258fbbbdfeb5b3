#include "check/CheckReport.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

using namespace fusebox;

int fusebox::exitCode(Status status) {
  switch (status) {
  case Status::Warning:
    return 1;
  case Status::Incompatible:
    return 2;
  case Status::Compatible:
  case Status::NotApplicable:
    return 0;
  }
  return 0;
}

std::string_view fusebox::policyName(CheckPolicy policy) {
  return policy == CheckPolicy::Score ? "score" : "certified";
}

std::vector<NodeSummary> fusebox::summariseNodes(const Analysis &analysis) {
  std::vector<NodeSummary> nodes;
  for (const Verdict &verdict : analysis.verdicts) {
    auto node =
        std::find_if(nodes.begin(), nodes.end(), [&](auto &known) { return known.node == verdict.node; });
    if (node == nodes.end())
      node = nodes.insert(nodes.end(), NodeSummary{verdict.node, 0, 0, 0, {}, 0});
    if (verdict.contract == Contract::Wide) {
      ++node->regions;
      node->wide += verdict.legal;
      node->fp16 += verdict.fitsFp16;
      if (!verdict.legal && (node->refusal.empty() || node->refusal.starts_with("fast: ")))
        node->refusal = "wide: " + verdict.reason;
    }
    if (verdict.contract == Contract::Fast) {
      node->fast += verdict.legal;
      if (!verdict.legal && node->refusal.empty())
        node->refusal = "fast: " + verdict.reason;
    }
  }
  return nodes;
}

std::string fusebox::certifiedRegions(const Analysis &analysis) {
  int64_t wide = 0, all = 0;
  for (const NodeSummary &node : summariseNodes(analysis)) {
    wide += node.wide;
    all += node.regions;
  }
  return fmt::format("{}/{}", wide, all);
}

namespace {

/// Layers listed one by one in the short report.
constexpr size_t shortList = 6;

std::string layerIssue(const HeuristicLayer &layer, const HeuristicLimits &limits) {
  // The side that breaks a limit by more is the one to name.
  auto worse = [](const GainSummary &a, const GainSummary &b) {
    return a.ratio != b.ratio ? a.ratio > b.ratio : a.max > b.max;
  };
  bool isQ = layer.q && (!layer.k || worse(*layer.q, *layer.k));
  const GainSummary &gain = isQ ? *layer.q : *layer.k;
  std::string text =
      fmt::format("Layer {}: {} norm max weight = {:.1f}, max/median = {:.1f} (limits: {:.1f}, {:.1f})",
                  layer.layer, isQ ? "Q" : "K", gain.max, gain.ratio, limits.extreme, limits.ratio);
  // The other side may be the one whose largest weight made the layer extreme.
  const std::optional<GainSummary> &other = isQ ? layer.k : layer.q;
  if (other && layer.extreme && gain.max <= limits.extreme)
    text += fmt::format("; {} norm max weight = {:.1f}", isQ ? "K" : "Q", other->max);
  return text;
}

void listLayers(const CheckReport &report, bool verbose, bool problematic, std::vector<std::string> &issues) {
  std::vector<const HeuristicLayer *> layers;
  for (const HeuristicLayer &layer : report.analysis.heuristic.layers)
    if (problematic ? layer.problematic : (layer.extreme && !layer.problematic))
      layers.push_back(&layer);
  size_t shown = verbose ? layers.size() : std::min(layers.size(), shortList);
  for (size_t i = 0; i < shown; ++i)
    issues.push_back(layerIssue(*layers[i], report.limits.heuristic));
  if (shown < layers.size())
    issues.push_back(fmt::format("{} more layers with max/median above {:.1f} (--verbose lists them)",
                                 layers.size() - shown, report.limits.heuristic.ratio));
}

void listHeuristicIssues(const CheckReport &report, bool verbose, std::vector<std::string> &issues) {
  const Heuristic &heuristic = report.analysis.heuristic;
  if (heuristic.notFinite != 0)
    issues.push_back(fmt::format("{} weights of the q and k norms are NaN or infinite", heuristic.notFinite));
  listLayers(report, verbose, true, issues);
  if (verbose)
    listLayers(report, verbose, false, issues);
  if (heuristic.extremeLayers != 0)
    issues.push_back(
        fmt::format("{}/{} layers have extreme weights", heuristic.extremeLayers, heuristic.modelLayers));
  if (heuristic.amplification > 1)
    issues.push_back(fmt::format("Estimated error amplification: {:.0f}x", heuristic.amplification));
  const HeuristicLimits &limits = report.limits.heuristic;
  // Variance and a ratio near its limit only lower the score: named where nothing larger is.
  bool named = !issues.empty() && !verbose;
  if (!named && heuristic.variance > limits.variance / 2)
    issues.push_back(fmt::format("Largest variance of norm weights: {:.1f} (limit: {:.1f})",
                                 heuristic.variance, limits.variance));
  if (!named && heuristic.ratio > limits.ratio / 2 && heuristic.ratio <= limits.ratio)
    issues.push_back(
        fmt::format("Largest max/median: {:.1f}, near the limit {:.1f}", heuristic.ratio, limits.ratio));
}

void listCertificateIssues(const CheckReport &report, std::vector<std::string> &issues) {
  for (const NodeSummary &node : summariseNodes(report.analysis))
    if (node.wide != node.regions)
      issues.push_back(fmt::format("{}: {} of {} regions may not be fused at wide ({})", node.node,
                                   node.regions - node.wide, node.regions, node.refusal));
}

} // namespace

std::vector<std::string> fusebox::listIssues(const CheckReport &report, bool verbose) {
  std::vector<std::string> issues;
  if (report.analysis.heuristic.applicable())
    listHeuristicIssues(report, verbose, issues);
  listCertificateIssues(report, issues);
  return issues;
}

std::string fusebox::recommend(const CheckReport &report) {
  bool certified = report.analysis.certified == Status::Compatible;
  std::string regions = certifiedRegions(report.analysis);
  if (report.policy == CheckPolicy::Certified) {
    switch (report.status) {
    case Status::Compatible:
    case Status::NotApplicable:
      return "Fuse at contract wide (--fusion=certified, the default): every region is proved safe on these "
             "weights.";
    case Status::Warning:
      return fmt::format("Use --fusion=certified: {} regions are fused, the others keep standard kernels.",
                         regions);
    case Status::Incompatible:
      return "Use standard kernels where semantics or range are not proved; --fusion=certified does so by "
             "itself.";
    }
  }
  switch (report.status) {
  case Status::Compatible:
  case Status::NotApplicable:
    return "Fused kernels may be used.";
  case Status::Warning:
    return fmt::format(
        "Fused kernels may be used, but compare outputs with standard kernels (fusebox logits). The "
        "certificate allows {} regions at wide.",
        regions);
  case Status::Incompatible:
    break;
  }
  if (certified)
    return fmt::format(
        "Use standard kernels only, as far as the score goes. The score sees sizes of norm weights alone; "
        "the certificate proves {} regions safe at contract wide on these weights (--policy certified, "
        "--fusion=certified).",
        regions);
  return fmt::format("Use standard kernels only; the certificate allows {} regions at wide.", regions);
}
