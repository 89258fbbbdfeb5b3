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

Heuristic fusebox::scoreHeuristic(const ModelFacts &facts, const HeuristicLimits &limits) {
  Heuristic result;
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
    layer.problematic = layer.ratio() > limits.ratio;
    layer.extreme = layer.max() > limits.extreme;
    result.notFinite += (layer.q ? layer.q->notFinite : 0) + (layer.k ? layer.k->notFinite : 0);
    result.ratio = std::max(result.ratio, layer.ratio());
    result.variance = std::max(result.variance, layer.variance());
    result.extremeLayers += layer.extreme;
    if (layer.problematic)
      result.amplification *= layer.max();
    result.layers.push_back(layer);
  }
  if (result.layers.empty())
    return result;
  result.estimatedError = limits.errorUnit * result.amplification;
  result.score = limits.ratioShare * ramp(result.ratio, limits.ratio) +
                 limits.amplificationShare * ramp(result.amplification, limits.amplification) +
                 limits.extremeShare * (1 - double(result.extremeLayers) / double(facts.layers.size())) +
                 limits.varianceShare * ramp(result.variance, limits.variance);
  if (result.estimatedError > limits.error || result.score < limits.incompatibleBelow ||
      result.notFinite != 0)
    result.status = Status::Incompatible;
  else
    result.status = result.score < limits.warningBelow ? Status::Warning : Status::Compatible;
  return result;
}
