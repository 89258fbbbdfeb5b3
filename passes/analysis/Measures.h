// Everything the metrics know about a model's weights, read in one pass over the files.
#pragma once

#include "passes/analysis/Facts.h"

#include <vector>

namespace fusebox {

/// Of one query head and the key head it reads. docs/check.md has the formulas.
struct HeadScore {
  double range = 0;        ///< R: bounds scale · Σ |q_j||k_j|
  double spread = 0;       ///< Σ α_j² β_j² over pairs (an element that RoPE leaves alone counts twice)
  double hiddenSpread = 0; ///< Σ (F^q_j)² β_j² + α_j² (F^k_j)²; 0 with a QK-norm
};

struct LayerMeasures {
  /// ‖W[i,:] ∘ gain of the input norm‖² of each row.
  std::vector<double> q, k, v, gate, up;
  std::vector<HeadScore> heads;         ///< one a query head
  double largestQ = 0, largestK = 0;    ///< bounds on an element of q and k as the scores read them
  double largestProjection = 0;         ///< bound on an element of q, k, v before any norm
  std::vector<double> o, down;          ///< by output: bound on |result| of the projection
  std::vector<double> oMean, downMean;  ///< by output: expected square of the result
  double attnRadius = 0, mlpRadius = 0; ///< bounds on the length of the projections' input, over its gain
  double attnRms = 1, mlpRms = 1;       ///< expected root mean square of that input, over its gain
  double residualBefore = 0, residualMiddle = 0, residualAfter = 0; ///< bounds on an element of the residual
  double meanBefore = 0, meanMiddle = 0, meanAfter = 0;             ///< expected mean squares
};

struct ModelMeasures {
  std::vector<LayerMeasures> layers;
  double largestEmbedding = 0, embeddingMean = 0; ///< largest element and mean square, scale applied
  double logitRow = 0;                            ///< largest ‖W[i,:] ∘ gain of the final norm‖²
};

/// Reads every weight once, on `threads` threads. The result does not depend on their number.
ModelMeasures measureWeights(const ModelFacts &facts, unsigned threads);

/// The layer's part that judges attention scores (HeadScore), from its row norms and, without a QK-norm, from
/// the projections' Gram matrices.
void measureScores(const ModelFacts &facts, const LayerFacts &layer, LayerMeasures &measures);

} // namespace fusebox
