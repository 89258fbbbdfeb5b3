#include "passes/analysis/Measures.h"

#include "passes/analysis/Activations.h"
#include "passes/analysis/Bounds.h"
#include "passes/analysis/Parallel.h"
#include "passes/analysis/WeightKernels.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace fusebox;

namespace {

/// Rows of the embedding or lm_head that one task takes: enough to hide the task's cost, few enough to share
/// out.
constexpr int64_t vocabularyTask = 4096;

/// Calls visit(near, row of near, row of matrix) for all rows.
template <typename Visit> void forEachRow(const MatrixView &matrix, const Visit &visit) {
  int64_t step = nearCount(matrix);
  for (int64_t first = 0; first < matrix.rows; first += step) {
    MatrixView near = nearRows(matrix, first, std::min(step, matrix.rows - first));
    for (int64_t i = 0; i < near.rows; ++i)
      visit(near, i, first + i);
  }
}

std::vector<double> rowSquares(const MatrixView &matrix, const ColumnScales &scales) {
  std::vector<double> result(static_cast<size_t>(matrix.rows));
  forEachRow(matrix, [&](const MatrixView &near, int64_t i, int64_t row) {
    result[size_t(row)] = sumOfSquares(near, i, scales);
  });
  return result;
}

ColumnScales gainOrOnes(const std::optional<NormFacts> &norm, int64_t columns) {
  return norm ? ColumnScales(norm->gain) : ColumnScales(columns);
}

/// By row: the bound of |W x + b| and its root mean square, from row norms.
struct Reach {
  std::vector<double> bound, rms;
};
Reach reachOf(const std::vector<double> &squares, const std::vector<double> &bias, double radius,
              double rms) {
  Reach reach;
  for (size_t i = 0; i < squares.size(); ++i) {
    double b = bias.empty() ? 0 : bias[i];
    reach.bound.push_back(radius * std::sqrt(squares[i]) + std::fabs(b));
    reach.rms.push_back(std::sqrt(square(rms) * squares[i] + square(b)));
  }
  return reach;
}

/// By output of a projection whose input elements are bounded by `input.bound` and have roots of `input.rms`.
void projectThrough(const LinearFacts &linear, const Reach &input, std::vector<double> &bound,
                    std::vector<double> &mean) {
  ColumnScales bounds(input.bound), roots(input.rms);
  forEachRow(linear.weight, [&](const MatrixView &near, int64_t i, int64_t row) {
    double b = linear.bias.empty() ? 0 : linear.bias[size_t(row)];
    bound.push_back(sumOfMagnitudes(near, i, bounds) + std::fabs(b));
    mean.push_back(sumOfSquares(near, i, roots) + square(b));
  });
}

void measureAttention(const ModelFacts &facts, const LayerFacts &layer, LayerMeasures &measures) {
  ColumnScales gain = gainOrOnes(layer.attnNorm, facts.hidden);
  if (facts.qkNorm != QkNorm::None) {
    measures.q = rowSquares(layer.q.weight, gain);
    measures.k = rowSquares(layer.k.weight, gain);
  }
  measureScores(facts, layer, measures);
  measures.v = rowSquares(layer.v.weight, gain);
  Reach values = reachOf(measures.v, layer.v.bias, measures.attnRadius, measures.attnRms);
  // Attention returns a convex combination of values: no element grows. Query heads share their group's
  // values.
  Reach mixed;
  for (int64_t c = 0; c < facts.heads * facts.headDim; ++c) {
    int64_t head = c / facts.headDim, row = head / facts.queriesPerKey() * facts.headDim + c % facts.headDim;
    mixed.bound.push_back(values.bound[size_t(row)]);
    mixed.rms.push_back(values.rms[size_t(row)]);
  }
  projectThrough(layer.o, mixed, measures.o, measures.oMean);
  auto largest = [&](const std::vector<double> &squares, const std::vector<double> &bias) {
    return largestOf(reachOf(squares, bias, measures.attnRadius, 1).bound);
  };
  measures.largestProjection = std::max({largest(measures.q, layer.q.bias), largest(measures.k, layer.k.bias),
                                         largest(measures.v, layer.v.bias)});
}

void measureMlp(const ModelFacts &facts, const LayerFacts &layer, LayerMeasures &measures) {
  ColumnScales gain = gainOrOnes(layer.mlpNorm, facts.hidden);
  measures.up = rowSquares(layer.up.weight, gain);
  Reach up = reachOf(measures.up, layer.up.bias, measures.mlpRadius, measures.mlpRms);
  Reach gate;
  if (facts.gated) {
    measures.gate = rowSquares(layer.gate.weight, gain);
    gate = reachOf(measures.gate, layer.gate.bias, measures.mlpRadius, measures.mlpRms);
  }
  // |activation(x)| ≤ |x| for all of them.
  Reach hidden = up;
  for (size_t i = 0; i < up.bound.size(); ++i) {
    hidden.rms[i] = activationRms(facts.activation, facts.gated ? gate.rms[i] : up.rms[i]);
    if (facts.gated) {
      hidden.bound[i] *= gate.bound[i];
      hidden.rms[i] *= up.rms[i];
    }
  }
  projectThrough(layer.down, hidden, measures.down, measures.downMean);
}

double mean(const std::vector<double> &values) {
  double sum = 0;
  for (double value : values)
    sum += value;
  return values.empty() ? 0 : sum / double(values.size());
}

/// What a sub-layer adds to the residual: its projection's result, or a norm of it, whose elements are at
/// most the root of their number times the gain.
void addToResidual(std::vector<double> &bound, double &meanSquare, const std::vector<double> &result,
                   const std::vector<double> &resultMean, const std::optional<NormFacts> &post) {
  double root = std::sqrt(double(bound.size())), gains = 0;
  for (size_t i = 0; i < bound.size(); ++i) {
    bound[i] += post ? root * std::fabs(post->gain[i]) : result[i];
    gains += post ? square(post->gain[i]) / double(bound.size()) : 0;
  }
  meanSquare += post ? gains : mean(resultMean);
}

double length(const std::vector<double> &bound) {
  double sum = 0;
  for (double value : bound)
    sum += square(value);
  return std::sqrt(sum);
}

/// Follows the residual through the layers. `results` false: only norms after sub-layers are known yet, which
/// is all that post-norm models need to bound their sub-layers' inputs.
void followResidual(const ModelFacts &facts, std::vector<double> bound, ModelMeasures &measures,
                    bool results) {
  double meanSquare = measures.embeddingMean;
  for (size_t l = 0; l < facts.layers.size(); ++l) {
    LayerMeasures &layer = measures.layers[l];
    const LayerFacts &weights = facts.layers[l];
    if (!results && !(weights.postAttnNorm && weights.postMlpNorm))
      return;
    if (!results) {
      layer.attnRadius = length(bound);
      layer.attnRms = std::sqrt(meanSquare);
    }
    layer.residualBefore = largestOf(bound);
    layer.meanBefore = meanSquare;
    addToResidual(bound, meanSquare, layer.o, layer.oMean, weights.postAttnNorm);
    if (!results) {
      layer.mlpRadius = length(bound);
      layer.mlpRms = std::sqrt(meanSquare);
    }
    layer.residualMiddle = largestOf(bound);
    layer.meanMiddle = meanSquare;
    addToResidual(bound, meanSquare, layer.down, layer.downMean, weights.postMlpNorm);
    layer.residualAfter = largestOf(bound);
    layer.meanAfter = meanSquare;
  }
}

/// What one task finds in its rows of the embedding and of lm_head.
struct VocabularyPart {
  std::vector<float> largest;
  double squares = 0, logitRow = 0;
};

void measureEmbedding(const MatrixView &near, const ColumnScales &ones, VocabularyPart &part) {
  std::vector<float> largest = columnMaxima(near, 0, near.rows);
  for (size_t i = 0; i < largest.size(); ++i)
    part.largest[i] = std::isnan(largest[i]) ? std::numeric_limits<float>::infinity()
                                             : std::max(part.largest[i], largest[i]);
  for (int64_t row = 0; row < near.rows; ++row)
    part.squares += sumOfSquares(near, row, ones);
}

void measureLogits(const MatrixView &near, const ColumnScales &gain, VocabularyPart &part) {
  for (int64_t row = 0; row < near.rows; ++row)
    raise(part.logitRow, sumOfSquares(near, row, gain));
}

VocabularyPart measureVocabulary(const ModelFacts &facts, const ColumnScales &ones, const ColumnScales &gain,
                                 int64_t first, int64_t last) {
  VocabularyPart part;
  part.largest.assign(size_t(facts.hidden), 0.0f);
  bool tied = facts.embed.bytes.data() == facts.lmHead.bytes.data();
  int64_t step = nearCount(facts.embed);
  auto rows = [&](const MatrixView &matrix, int64_t from) {
    return std::max<int64_t>(std::min({step, last - from, matrix.rows - from}), 0);
  };
  for (int64_t from = first; from < last; from += step) {
    if (int64_t count = rows(facts.embed, from)) {
      MatrixView near = nearRows(facts.embed, from, count);
      measureEmbedding(near, ones, part);
      if (tied)
        measureLogits(near, gain, part); // read once
    }
    if (int64_t count = tied ? 0 : rows(facts.lmHead, from))
      measureLogits(nearRows(facts.lmHead, from, count), gain, part);
  }
  return part;
}

} // namespace

ModelMeasures fusebox::measureWeights(const ModelFacts &facts, unsigned threads) {
  ModelMeasures measures;
  measures.layers.resize(facts.layers.size());
  int64_t rows = std::max(facts.embed.rows, facts.lmHead.rows);
  std::vector<VocabularyPart> parts(size_t((rows + vocabularyTask - 1) / vocabularyTask));
  ColumnScales ones(facts.hidden), gain(facts.finalNorm.gain);
  std::vector<double> embedding(size_t(facts.hidden), 0.0);

  auto vocabularyTasks = [&](size_t i) {
    parts[i] =
        measureVocabulary(facts, ones, gain, int64_t(i) * vocabularyTask, int64_t(i + 1) * vocabularyTask);
  };
  auto finishVocabulary = [&] {
    double scale = std::fabs(facts.embeddingScale), squares = 0;
    for (const VocabularyPart &part : parts) {
      for (size_t i = 0; i < embedding.size(); ++i)
        embedding[i] = std::max(embedding[i], scale * double(part.largest[i]));
      squares += part.squares;
      raise(measures.logitRow, part.logitRow);
    }
    measures.largestEmbedding = largestOf(embedding);
    measures.embeddingMean = square(scale) * squares / double(facts.embed.rows * facts.hidden);
  };
  auto layerTask = [&](size_t i) {
    measureAttention(facts, facts.layers[i], measures.layers[i]);
    measureMlp(facts, facts.layers[i], measures.layers[i]);
  };

  double radius = std::sqrt(double(facts.hidden));
  for (LayerMeasures &layer : measures.layers)
    layer.attnRadius = layer.mlpRadius = radius;
  if (facts.placement == NormPlacement::Post) {
    // Sub-layers read the residual itself: its bounds come first.
    parallelFor(parts.size(), threads, vocabularyTasks);
    finishVocabulary();
    followResidual(facts, embedding, measures, false);
    parallelFor(facts.layers.size(), threads, layerTask);
  } else {
    parallelFor(facts.layers.size() + parts.size(), threads, [&](size_t i) {
      if (i < facts.layers.size())
        layerTask(i);
      else
        vocabularyTasks(i - facts.layers.size());
    });
    finishVocabulary();
  }
  followResidual(facts, embedding, measures, true);
  return measures;
}
