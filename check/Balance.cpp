// Which exponents level q and k.
#include "check/Rebalance.h"

#include "passes/analysis/Rounding.h"
#include "support/Float.h"

#include <algorithm>
#include <cmath>

using namespace fusebox;

int64_t Balance::moved() const {
  int64_t sum = 0;
  for (const LayerBalance &layer : layers)
    sum += layer.moved;
  return sum;
}

int64_t Balance::held() const {
  int64_t sum = 0;
  for (const LayerBalance &layer : layers)
    sum += layer.held;
  return sum;
}

namespace {

/// Elements of a head that must share an exponent: rotary pairs, and those that RoPE leaves alone.
std::vector<std::vector<int64_t>> sharers(const ModelFacts &facts) {
  RotaryPairs rotary = rotaryPairs(facts.ropeStyle, facts.headDim, facts.rotaryDim);
  std::vector<std::vector<int64_t>> result;
  for (auto [first, second] : rotary.pairs)
    result.push_back({first, second});
  for (int64_t j : rotary.single)
    result.push_back({j});
  return result;
}

/// The exponent for q that brings both sides nearest to the root of their product; 0 where a side is 0 or not
/// finite.
int levelling(double q, double k) {
  if (!(q > 0) || !(k > 0) || !std::isfinite(q) || !std::isfinite(k))
    return 0;
  return int(std::lround(std::log2(k / q) / 2));
}

/// Notes how uneven a pair is, and would be with that exponent for q.
void noteUneven(Balance &balance, double q, double k, int exponent) {
  if (!(q > 0) || !(k > 0) || !std::isfinite(q) || !std::isfinite(k))
    return;
  auto uneven = [](double a, double b) { return std::max(a / b, b / a); };
  balance.unevenBefore = std::max(balance.unevenBefore, uneven(q, k));
  balance.unevenAfter =
      std::max(balance.unevenAfter, uneven(std::ldexp(q, exponent), std::ldexp(k, -exponent)));
}

/// Smallest normal value; below it a type loses digits.
double smallestNormal(DType type) { return type == DType::F16 ? 0x1p-14 : 0x1p-126; }

bool isStorable(double value, DType type) {
  if (value == 0)
    return true;
  if (!std::isfinite(value) || std::fabs(value) > largestValue(type) ||
      std::fabs(value) < smallestNormal(type))
    return false;
  float narrow = float(value);
  if (double(narrow) != value)
    return false;
  if (type == DType::BF16)
    return bf16ToF32(f32ToBf16(narrow)) == narrow;
  return type != DType::F16 || f16ToF32(f32ToF16(narrow)) == narrow;
}

} // namespace

bool fusebox::holdsExactly(double gain, int exponent, GainConvention convention, DType type) {
  double moved = std::ldexp(gain, exponent);
  if (convention == GainConvention::Plain)
    return isStorable(moved, type);
  // Stored is gain − 1, and code adds 1 in f32: both steps must be exact.
  double stored = moved - 1;
  return isStorable(stored, type) && double(1.0f + float(stored)) == moved;
}

Balance fusebox::levelGains(const ModelFacts &facts) {
  Balance balance;
  size_t d = size_t(facts.headDim);
  bool allHeads = facts.qkNorm == QkNorm::AllHeads;
  size_t groups = allHeads ? size_t(facts.kvHeads) : 1;
  size_t queries = allHeads ? size_t(facts.queriesPerKey()) : 1;
  for (const LayerFacts &weights : facts.layers) {
    LayerBalance layer;
    layer.exponents.assign(groups, std::vector<int>(d, 0));
    for (size_t g = 0; g < groups && weights.qNorm && weights.kNorm; ++g)
      for (const auto &elements : sharers(facts)) {
        std::vector<double> q, k;
        for (int64_t j : elements) {
          k.push_back(weights.kNorm->gain[g * d + size_t(j)]);
          for (size_t h = g * queries; h < (g + 1) * queries; ++h)
            q.push_back(weights.qNorm->gain[h * d + size_t(j)]);
        }
        auto largest = [](const std::vector<double> &values) {
          double result = 0;
          for (double value : values)
            result = std::isnan(value) ? value : std::max(result, std::fabs(value));
          return result;
        };
        int exponent = levelling(largest(q), largest(k));
        auto exact = [&](const std::vector<double> &values, int by) {
          return std::all_of(values.begin(), values.end(), [&](double value) {
            return holdsExactly(value, by, facts.gainConvention, facts.normStorage);
          });
        };
        bool holds = exponent == 0 || (exact(q, exponent) && exact(k, -exponent));
        layer.held += !holds;
        layer.moved += holds && exponent != 0;
        noteUneven(balance, largest(q), largest(k), holds ? exponent : 0);
        for (int64_t j : elements)
          layer.exponents[g][size_t(j)] = holds ? exponent : 0;
      }
    balance.layers.push_back(std::move(layer));
  }
  return balance;
}

Balance fusebox::levelRows(const ModelFacts &facts, const ModelMeasures &measures) {
  Balance balance;
  int64_t d = facts.headDim, queries = facts.queriesPerKey();
  for (size_t l = 0; l < facts.layers.size(); ++l) {
    const LayerFacts &weights = facts.layers[l];
    const LayerMeasures &measured = measures.layers[l];
    LayerBalance layer;
    auto reach = [&](const std::vector<double> &squares, const LinearFacts &linear, int64_t row) {
      double bias = linear.bias.empty() ? 0 : std::fabs(linear.bias[size_t(row)]);
      return measured.attnRadius * std::sqrt(squares[size_t(row)]) + bias;
    };
    for (int64_t g = 0; g < facts.kvHeads; ++g) {
      layer.exponents.emplace_back(size_t(d), 0);
      for (const auto &elements : sharers(facts)) {
        double q = 0, k = 0;
        for (int64_t j : elements) {
          k = std::max(k, reach(measured.k, weights.k, g * d + j));
          for (int64_t h = g * queries; h < (g + 1) * queries; ++h)
            q = std::max(q, reach(measured.q, weights.q, h * d + j));
        }
        int exponent = levelling(q, k);
        layer.moved += exponent != 0;
        noteUneven(balance, q, k, exponent);
        for (int64_t j : elements)
          layer.exponents.back()[size_t(j)] = exponent;
      }
    }
    balance.layers.push_back(std::move(layer));
  }
  return balance;
}

Balance fusebox::levelModel(const ModelFacts &facts, const ModelMeasures &measures) {
  return facts.qkNorm != QkNorm::None ? levelGains(facts) : levelRows(facts, measures);
}

Heuristic fusebox::heuristicAfter(const ModelFacts &facts, const Balance &balance,
                                  const HeuristicLimits &limits) {
  // Only gains matter to the heuristic: a copy without weights is enough.
  ModelFacts moved = facts;
  size_t d = size_t(facts.headDim);
  bool allHeads = facts.qkNorm == QkNorm::AllHeads;
  for (size_t l = 0; l < moved.layers.size(); ++l) {
    LayerFacts &layer = moved.layers[l];
    auto scale = [&](std::optional<NormFacts> &norm, int sign, size_t headsPerGroup) {
      for (size_t i = 0; norm && i < norm->gain.size(); ++i) {
        size_t group = allHeads ? i / d / headsPerGroup : 0;
        norm->gain[i] = std::ldexp(norm->gain[i], sign * balance.layers[l].exponents[group][i % d]);
      }
    };
    scale(layer.qNorm, 1, size_t(facts.queriesPerKey()));
    scale(layer.kNorm, -1, 1);
  }
  return scoreHeuristic(moved, limits);
}
