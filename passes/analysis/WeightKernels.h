// Sums over rows of stored weights, at memory speed and with the same bits on every CPU: f32 lanes in a fixed
// order, added up by a fixed tree. A row whose sum leaves f32's comfortable range is summed again in f64,
// where squares of bf16 and f32 values neither overflow nor vanish.
#pragma once

#include "passes/analysis/Facts.h"

#include <span>
#include <vector>

namespace fusebox {

/// Factors for the columns of a matrix, held in the order the kernels read them in.
class ColumnScales {
public:
  explicit ColumnScales(std::span<const double> scales);
  /// All ones.
  explicit ColumnScales(int64_t columns);

  int64_t columns() const { return int64_t(exact.size()); }
  const std::vector<double> &values() const { return exact; }
  /// Blocks of 32 columns: the 16 even ones, then the 16 odd ones; zero-padded.
  const float *interleaved() const { return blocks.data(); }
  /// In order, zero-padded to a multiple of 32.
  const float *plain() const { return ordered.data(); }

private:
  void pack();
  std::vector<double> exact;
  std::vector<float> blocks, ordered;
};

/// Rows [first, first + count) as a matrix of their own, copied from their file into memory of this thread:
/// while they fit its caches, reading them is free, and copying costs less than mapping their pages. The view
/// holds until the thread's next call. Without a file, or if that can't be read, the view is of the mapped
/// bytes. Where rows are paired, whole heads.
MatrixView nearRows(const MatrixView &matrix, int64_t first, int64_t count);
/// How many rows to ask for at a time.
int64_t nearCount(const MatrixView &matrix);

/// Row `row` of a matrix: Σ (w_i s_i)². Infinite or NaN if a weight or a scale is.
double sumOfSquares(const MatrixView &matrix, int64_t row, const ColumnScales &scales);
/// Σ |w_i| s_i, for s_i ≥ 0.
double sumOfMagnitudes(const MatrixView &matrix, int64_t row, const ColumnScales &scales);

/// Largest |w| of each column over rows [first, last). A NaN counts as infinite, or as NaN.
std::vector<float> columnMaxima(const MatrixView &matrix, int64_t first, int64_t last);

/// Gram matrix of rows [first, first + count), columns scaled: out[a·count + b] = Σ w_ai s_i · w_bi s_i,
/// symmetric.
void gramMatrix(const MatrixView &matrix, int64_t first, int64_t count, const ColumnScales &scales,
                std::vector<double> &out);

} // namespace fusebox
