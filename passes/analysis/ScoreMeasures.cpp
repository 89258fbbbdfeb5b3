// Section by section as docs/check.md derives them: what the weights say about one layer's attention scores.
#include "passes/analysis/Bounds.h"
#include "passes/analysis/Measures.h"
#include "passes/analysis/Spectral.h"
#include "passes/analysis/WeightKernels.h"

#include <algorithm>
#include <cmath>

using namespace fusebox;

namespace {

/// One side (q or k) of one head, pair by pair; elements that RoPE leaves alone are pairs of one.
struct Side {
  std::vector<double> reach;  ///< A_j or B_j; without QK-norm N_j: by how much a unit input can fill the pair
  std::vector<double> energy; ///< α_j² or β_j²
  std::vector<double> hidden; ///< (F_j)², without QK-norm
};

struct Pair {
  int64_t first, second; ///< the same twice for an element by itself
  bool alone() const { return first == second; }
};

std::vector<Pair> pairsOf(const ModelFacts &facts) {
  RotaryPairs rotary = rotaryPairs(facts.ropeStyle, facts.headDim, facts.rotaryDim);
  std::vector<Pair> pairs;
  for (auto [first, second] : rotary.pairs)
    pairs.push_back({first, second});
  for (int64_t j : rotary.single)
    pairs.push_back({j, j});
  return pairs;
}

// ---- With a norm on q and k.

/// α_j² or β_j² and A_j or B_j of a head: `gain` are the head's gains, `rows` its rows' ‖W∘γ‖² + bias², and
/// `mean` their mean over the normed vector.
Side normedSide(const std::vector<Pair> &pairs, std::span<const double> gain, std::span<const double> rows,
                double mean) {
  Side side;
  auto energy = [&](int64_t j) { return mean == 0 ? 0.0 : square(gain[size_t(j)]) * rows[size_t(j)] / mean; };
  for (Pair pair : pairs) {
    side.reach.push_back(std::max(std::fabs(gain[size_t(pair.first)]), std::fabs(gain[size_t(pair.second)])));
    side.energy.push_back(energy(pair.first) + (pair.alone() ? 0.0 : energy(pair.second)));
  }
  return side;
}

std::vector<Side> normedSides(const ModelFacts &facts, const std::vector<Pair> &pairs, const NormFacts &norm,
                              const std::vector<double> &squares, const std::vector<double> &bias,
                              int64_t heads) {
  size_t d = size_t(facts.headDim);
  std::vector<double> rows = squares;
  for (size_t i = 0; i < bias.size(); ++i)
    rows[i] += square(bias[i]);
  auto mean = [&](size_t from, size_t count) {
    double sum = 0;
    for (size_t i = from; i < from + count; ++i)
      sum += rows[i];
    return sum / double(count);
  };
  bool allHeads = facts.qkNorm == QkNorm::AllHeads;
  double overall = allHeads ? mean(0, rows.size()) : 0;
  std::vector<Side> sides;
  for (size_t h = 0; h < size_t(heads); ++h) {
    std::span<const double> gain(norm.gain.data() + (allHeads ? h * d : 0), d);
    sides.push_back(
        normedSide(pairs, gain, std::span(rows).subspan(h * d, d), allHeads ? overall : mean(h * d, d)));
  }
  return sides;
}

double largestReach(const std::vector<Side> &sides) {
  double largest = 0;
  for (const Side &side : sides)
    for (double reach : side.reach)
      raise(largest, reach);
  return largest;
}

void measureNormed(const ModelFacts &facts, const LayerFacts &layer, const std::vector<Pair> &pairs,
                   LayerMeasures &measures) {
  std::vector<Side> q = normedSides(facts, pairs, *layer.qNorm, measures.q, layer.q.bias, facts.heads);
  std::vector<Side> k = normedSides(facts, pairs, *layer.kNorm, measures.k, layer.k.bias, facts.kvHeads);
  // A normed vector is no longer than the root of its number of elements, and RoPE keeps lengths.
  double qLength = std::sqrt(double(facts.qkNormElements(facts.heads)));
  double kLength = std::sqrt(double(facts.qkNormElements(facts.kvHeads)));
  double factor = square(facts.ropeFactor);
  measures.largestQ = facts.ropeFactor * qLength * largestReach(q);
  measures.largestK = facts.ropeFactor * kLength * largestReach(k);
  for (int64_t h = 0; h < facts.heads; ++h) {
    const Side &a = q[size_t(h)], &b = k[size_t(h / facts.queriesPerKey())];
    HeadScore score;
    double reach = 0;
    for (size_t j = 0; j < pairs.size(); ++j) {
      raise(reach, a.reach[j] * b.reach[j]);
      score.spread += (pairs[j].alone() ? 2 : 1) * a.energy[j] * b.energy[j];
    }
    score.range = factor * facts.scale * qLength * kLength * reach;
    score.spread *= square(factor);
    measures.heads.push_back(score);
  }
}

// ---- Without.

/// One head's projection: its Gram matrix (gain of the input norm applied) and biases.
struct Projection {
  std::vector<double> gram;
  std::vector<double> bias; ///< zeros where the model has none
};

Projection projectionOf(const LinearFacts &linear, int64_t head, int64_t d, const ColumnScales &gain) {
  Projection result;
  gramMatrix(linear.weight, head * d, d, gain, result.gram);
  result.bias.assign(size_t(d), 0.0);
  if (!linear.bias.empty())
    std::copy_n(linear.bias.begin() + head * d, d, result.bias.begin());
  return result;
}

/// F_j², N_j and energies of a head. `radius` bounds the input's length, `rms` is its expected size, both
/// over the gain that the Gram matrix holds.
Side plainSide(const std::vector<Pair> &pairs, const Projection &head, int64_t d, double radius, double rms) {
  Side side;
  auto at = [&](int64_t i, int64_t j) { return head.gram[size_t(i * d + j)]; };
  for (Pair pair : pairs) {
    double top, frobenius, bias;
    if (pair.alone()) {
      top = frobenius = at(pair.first, pair.first);
      bias = square(head.bias[size_t(pair.first)]);
    } else {
      double a = at(pair.first, pair.first), b = at(pair.first, pair.second),
             c = at(pair.second, pair.second);
      top = largestEigenvalue(a, b, c);
      frobenius = a + c;
      bias = square(head.bias[size_t(pair.first)]) + square(head.bias[size_t(pair.second)]);
    }
    side.reach.push_back(radius * std::sqrt(top) + std::sqrt(bias));
    side.hidden.push_back(square(rms) * frobenius);
    side.energy.push_back(square(rms) * frobenius + bias);
  }
  return side;
}

/// radius · ‖T W‖₂ + ‖T b‖ where T scales pair j by scales[j].
double scaledNorm(const std::vector<Pair> &pairs, const Projection &head, int64_t d, double radius,
                  const std::vector<double> &scales) {
  std::vector<double> t(static_cast<size_t>(d));
  for (size_t j = 0; j < pairs.size(); ++j)
    t[size_t(pairs[j].first)] = t[size_t(pairs[j].second)] = scales[j];
  thread_local std::vector<double> scaled;
  scaled.resize(size_t(d * d));
  double bias = 0;
  for (int64_t i = 0; i < d; ++i) {
    for (int64_t j = 0; j < d; ++j)
      scaled[size_t(i * d + j)] = t[size_t(i)] * t[size_t(j)] * head.gram[size_t(i * d + j)];
    bias += square(t[size_t(i)] * head.bias[size_t(i)]);
  }
  return radius * std::sqrt(largestEigenvalueBound(scaled, d)) + std::sqrt(bias);
}

/// min(Σ N^q N^k, S_q S_k). T levels the pairs, so that S_q S_k doesn't change when a factor moves between
/// them.
double plainReach(const std::vector<Pair> &pairs, const Projection &q, const Projection &k, const Side &a,
                  const Side &b, int64_t d, double radius) {
  double sum = 0;
  std::vector<double> up(pairs.size(), 0.0), down(pairs.size(), 0.0);
  for (size_t j = 0; j < pairs.size(); ++j) {
    double product = a.reach[j] * b.reach[j];
    sum += product;
    if (product == 0)
      continue; // a pair that is 0 on a side adds nothing to a score
    up[j] = std::sqrt(b.reach[j] / a.reach[j]);
    down[j] = 1 / up[j];
  }
  if (!std::isfinite(sum) || sum == 0)
    return sum;
  return std::min(sum, scaledNorm(pairs, q, d, radius, up) * scaledNorm(pairs, k, d, radius, down));
}

void measurePlain(const ModelFacts &facts, const LayerFacts &layer, const std::vector<Pair> &pairs,
                  LayerMeasures &measures) {
  int64_t d = facts.headDim;
  ColumnScales gain = layer.attnNorm ? ColumnScales(layer.attnNorm->gain) : ColumnScales(facts.hidden);
  double radius = measures.attnRadius, rms = measures.attnRms, factor = square(facts.ropeFactor);
  for (int64_t g = 0; g < facts.kvHeads; ++g) {
    Projection k = projectionOf(layer.k, g, d, gain);
    Side b = plainSide(pairs, k, d, radius, rms);
    for (double reach : b.reach)
      measures.largestK = std::max(measures.largestK, facts.ropeFactor * reach);
    for (int64_t i = 0; i < d; ++i)
      measures.k.push_back(k.gram[size_t(i * d + i)]);
    for (int64_t h = g * facts.queriesPerKey(); h < (g + 1) * facts.queriesPerKey(); ++h) {
      Projection q = projectionOf(layer.q, h, d, gain);
      Side a = plainSide(pairs, q, d, radius, rms);
      for (double reach : a.reach)
        measures.largestQ = std::max(measures.largestQ, facts.ropeFactor * reach);
      for (int64_t i = 0; i < d; ++i)
        measures.q.push_back(q.gram[size_t(i * d + i)]);
      HeadScore score;
      score.range = factor * facts.scale * plainReach(pairs, q, k, a, b, d, radius);
      for (size_t j = 0; j < pairs.size(); ++j) {
        double weight = pairs[j].alone() ? 2 : 1;
        score.spread += weight * a.energy[j] * b.energy[j];
        score.hiddenSpread += weight * (a.hidden[j] * b.energy[j] + a.energy[j] * b.hidden[j]);
      }
      score.spread *= square(factor);
      score.hiddenSpread *= square(factor);
      measures.heads.push_back(score);
    }
  }
}

/// Whether the layer has the norms of q and k, with as many gains as they scale elements.
bool hasNorms(const ModelFacts &facts, const LayerFacts &layer) {
  auto fits = [&](const std::optional<NormFacts> &norm, int64_t heads) {
    return norm && int64_t(norm->gain.size()) == facts.qkNormElements(heads);
  };
  return fits(layer.qNorm, facts.heads) && fits(layer.kNorm, facts.kvHeads);
}

} // namespace

void fusebox::measureScores(const ModelFacts &facts, const LayerFacts &layer, LayerMeasures &measures) {
  std::vector<Pair> pairs = pairsOf(facts);
  if (facts.qkNorm == QkNorm::None)
    measurePlain(facts, layer, pairs, measures);
  else if (hasNorms(facts, layer))
    measureNormed(facts, layer, pairs, measures);
  else // Nothing is known of the scores; Semantics.cpp says why.
    measures.heads.push_back({.range = std::nan(""), .spread = std::nan("")});
}
