#include "passes/analysis/Heuristic.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace fusebox;

static constexpr double infinity = std::numeric_limits<double>::infinity();

std::string_view fusebox::statusName(Status status) {
  switch (status) {
  case Status::Compatible:
    return "COMPATIBLE";
  case Status::Warning:
    return "WARNING";
  case Status::Incompatible:
    return "INCOMPATIBLE";
  case Status::NotApplicable:
    return "NOT_APPLICABLE";
  }
  return "";
}

/// Population variance in two passes, so that a large mean doesn't cancel it away.
static double varianceOf(std::span<const double> values) {
  double mean = 0, sum = 0;
  for (double value : values)
    mean += value / double(values.size());
  for (double value : values)
    sum += (value - mean) * (value - mean) / double(values.size());
  return std::isfinite(sum) ? sum : infinity;
}

GainSummary fusebox::summariseGain(std::span<const double> gain) {
  GainSummary summary;
  if (gain.empty())
    return summary;
  std::vector<double> sizes;
  sizes.reserve(gain.size());
  for (double value : gain) {
    summary.notFinite += !std::isfinite(value);
    sizes.push_back(std::isnan(value) ? infinity : std::fabs(value));
  }
  summary.max = *std::max_element(sizes.begin(), sizes.end());
  auto middle = sizes.begin() + (sizes.size() - 1) / 2;
  std::nth_element(sizes.begin(), middle, sizes.end());
  summary.median = *middle;
  if (summary.max == infinity || (summary.median == 0 && summary.max != 0))
    summary.ratio = infinity;
  else
    summary.ratio = summary.max == 0 ? 1 : summary.max / summary.median;
  summary.variance = varianceOf(gain);
  return summary;
}

template <typename Field> static double larger(const HeuristicLayer &layer, Field field) {
  double value = 0;
  if (layer.q)
    value = std::max(value, (*layer.q).*field);
  if (layer.k)
    value = std::max(value, (*layer.k).*field);
  return value;
}
double HeuristicLayer::max() const { return larger(*this, &GainSummary::max); }
double HeuristicLayer::ratio() const { return larger(*this, &GainSummary::ratio); }
double HeuristicLayer::variance() const { return larger(*this, &GainSummary::variance); }

double fusebox::ramp(double value, double limit) {
  if (value <= limit / 2)
    return 1;
  if (value >= limit)
    return 0;
  return (limit - value) / (limit / 2);
}

void fusebox::applyLimits(Heuristic &heuristic, const HeuristicLimits &limits) {
  heuristic.ratio = heuristic.variance = heuristic.score = heuristic.estimatedError = 0;
  heuristic.amplification = 1;
  heuristic.extremeLayers = heuristic.notFinite = 0;
  heuristic.status = Status::NotApplicable;
  if (heuristic.layers.empty())
    return;
  for (HeuristicLayer &layer : heuristic.layers) {
    layer.problematic = layer.ratio() > limits.ratio;
    layer.extreme = layer.max() > limits.extreme;
    heuristic.notFinite += (layer.q ? layer.q->notFinite : 0) + (layer.k ? layer.k->notFinite : 0);
    heuristic.ratio = std::max(heuristic.ratio, layer.ratio());
    heuristic.variance = std::max(heuristic.variance, layer.variance());
    heuristic.extremeLayers += layer.extreme;
    if (layer.problematic)
      heuristic.amplification *= layer.max();
  }
  heuristic.estimatedError = limits.errorUnit * heuristic.amplification;
  heuristic.score =
      limits.ratioShare * ramp(heuristic.ratio, limits.ratio) +
      limits.amplificationShare * ramp(heuristic.amplification, limits.amplification) +
      limits.extremeShare * (1 - double(heuristic.extremeLayers) / double(heuristic.modelLayers)) +
      limits.varianceShare * ramp(heuristic.variance, limits.variance);
  if (heuristic.estimatedError > limits.error || heuristic.score < limits.incompatibleBelow ||
      heuristic.notFinite != 0)
    heuristic.status = Status::Incompatible;
  else
    heuristic.status = heuristic.score < limits.warningBelow ? Status::Warning : Status::Compatible;
}

Heuristic fusebox::scoreHeuristic(const ModelFacts &facts, const HeuristicLimits &limits) {
  Heuristic result;
  result.modelLayers = int64_t(facts.layers.size());
  for (size_t i = 0; i < facts.layers.size(); ++i) {
    const LayerFacts &weights = facts.layers[i];
    if (!weights.qNorm && !weights.kNorm)
      continue;
    HeuristicLayer layer;
    layer.layer = int64_t(i);
    if (weights.qNorm)
      layer.q = summariseGain(weights.qNorm->gain);
    if (weights.kNorm)
      layer.k = summariseGain(weights.kNorm->gain);
    result.layers.push_back(layer);
  }
  applyLimits(result, limits);
  return result;
}
