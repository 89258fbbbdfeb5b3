// Small models in memory for tests of the analysis: facts with the weights they view.
#pragma once

#include "passes/analysis/Analysis.h"
#include "support/Float.h"

#include <deque>
#include <random>

namespace fusebox::test {

/// Owns bf16 matrices and hands out views of them.
class TestModel {
public:
  struct Shape {
    int64_t hidden = 64, heads = 4, kvHeads = 2, headDim = 16, intermediate = 96, vocab = 128, layers = 3;
    QkNorm qkNorm = QkNorm::PerHead;
    bool biases = false;
    NormPlacement placement = NormPlacement::Pre;
  };

  explicit TestModel(const Shape &shape, unsigned seed = 1);

  ModelFacts facts;
  std::mt19937 random;

  /// A stored matrix; scaled so that a unit input gives a unit output.
  MatrixView matrix(int64_t rows, int64_t columns, double scale = 1);
  std::vector<double> gains(int64_t count, double spread = 0.3);
  /// The matrix's stored value.
  static double at(const MatrixView &matrix, int64_t row, int64_t column);
  /// Overwrites one.
  void set(const MatrixView &matrix, int64_t row, int64_t column, double value);

private:
  LayerFacts layer(const Shape &shape);
  std::deque<std::vector<uint16_t>> storage;
};

/// Gains of 1 with the first `count` raised to `value`.
std::vector<double> gainsWith(int64_t size, double value, int64_t count = 1);

} // namespace fusebox::test
