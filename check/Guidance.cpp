#include "check/Guidance.h"

#include <cmath>
#include <fmt/format.h>

using namespace fusebox;

namespace {

std::string layerNumbers(const std::vector<int64_t> &layers) {
  std::string text;
  for (size_t i = 0; i < layers.size(); ++i) {
    size_t last = i;
    while (last + 1 < layers.size() && layers[last + 1] == layers[last] + 1)
      ++last;
    text += (text.empty() ? "" : ", ") + std::to_string(layers[i]);
    if (last > i)
      text += (last > i + 1 ? "-" : ", ") + std::to_string(layers[last]);
    i = last;
  }
  return text;
}

std::string rebalancing(const CheckReport &report) {
  const Rebalancing &would = report.analysis.rebalancing;
  std::string text;
  if (would.heuristic) {
    const Heuristic &now = report.analysis.heuristic;
    Heuristic after = *would.heuristic;
    applyLimits(after, report.limits.heuristic);
    text = fmt::format(
        "fusebox rebalance would bring the score from {:.2f} to {:.2f} ({}): largest max/median {:.1f} -> "
        "{:.1f}, extreme layers {} -> {}",
        now.score, after.score, statusName(after.status), now.ratio, after.ratio, now.extremeLayers,
        after.extremeLayers);
  } else {
    text = fmt::format(
        "fusebox rebalance would move {} rotary pairs: the rows of W_q and W_k of one pair differ by up "
        "to {:.1f} times, then {:.1f}",
        would.moved, would.unevenBefore, would.unevenAfter);
  }
  text += "; outputs keep their bits and certificates stay as they are";
  if (would.held != 0)
    text += fmt::format(
        "; {} rotary pairs would stay, because their stored gains can't hold the multiple exactly",
        would.held);
  return text;
}

/// Sum of learning rates that examples assume: 100,000 steps of a cosine schedule from 3e-4, half of it on
/// average.
constexpr double exampleRates = 15;
constexpr const char *exampleSchedule = "100,000 steps of a cosine from 3e-4";

/// Decoupled weight decay shrinks a weight by exp(−decay · Σ learning rates) if its gradient does not change.
std::string decay(const CheckReport &report) {
  double limit = report.limits.heuristic.extreme, largest = 0;
  std::vector<int64_t> layers;
  bool q = false, k = false;
  for (const HeuristicLayer &layer : report.analysis.heuristic.layers) {
    if (!layer.extreme)
      continue;
    layers.push_back(layer.layer);
    largest = std::max(largest, layer.max());
    q |= layer.q && layer.q->max > limit;
    k |= layer.k && layer.k->max > limit;
  }
  if (layers.empty() || !std::isfinite(largest))
    return {};
  double shrink = std::log(largest / limit);
  return fmt::format(
      "training: decoupled weight decay on the {} norm weights of layers {}, with coefficient x (sum of "
      "learning rates) >= ln({:.1f}/{:.1f}) = {:.2f}, would have kept them below {:.1f}: {:.2g} for {}, "
      "gradients being equal",
      q && k ? "q and k" : (q ? "q" : "k"), layerNumbers(layers), largest, limit, shrink, limit,
      shrink / exampleRates, exampleSchedule);
}

/// A decoupled penalty c·ln(|w|/median)², applied to ln|w|, shrinks ln(|w|/median) by exp(−2 c · Σ learning
/// rates).
std::string spread(const CheckReport &report) {
  double limit = report.limits.heuristic.ratio, largest = 0;
  std::vector<int64_t> layers;
  for (const HeuristicLayer &layer : report.analysis.heuristic.layers)
    if (layer.problematic) {
      layers.push_back(layer.layer);
      largest = std::max(largest, layer.ratio());
    }
  if (layers.empty() || !std::isfinite(largest) || limit <= 1)
    return {};
  double coefficient = std::log(std::log(largest) / std::log(limit)) / (2 * exampleRates);
  return fmt::format(
      "training: in layers {} single weights stand out from their median; a decoupled penalty c x "
      "ln(|w|/median)^2 on them with c >= ln(ln({:.1f})/ln({:.1f})) / (2 x sum of learning rates) would have "
      "kept max/median below {:.1f}: {:.2g} for {}",
      layerNumbers(layers), largest, limit, limit, coefficient, exampleSchedule);
}

} // namespace

std::vector<std::string> fusebox::guidanceFor(const CheckReport &report) {
  std::vector<std::string> lines;
  const Rebalancing &would = report.analysis.rebalancing;
  if (would.moved != 0 || would.held != 0)
    lines.push_back(rebalancing(report));
  for (std::string line : {decay(report), spread(report)})
    if (!line.empty())
      lines.push_back(std::move(line));
  return lines;
}
