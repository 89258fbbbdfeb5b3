// Products of f64 matrices, fast enough for whole models.
#pragma once

#include <cstdint>

namespace fusebox::oracle {

/// A view of rows in memory, `stride` values apart.
struct MatrixView {
  const double *data;
  int64_t rows, columns, stride;

  const double *row(int64_t r) const { return data + r * stride; }
};

/// out[i·outStride + j] = Σ_k a[i][k]·b[j][k], for all rows of a and b, on the calling thread. Both have the
/// same number of columns. The sum of one output is the same on every CPU and for every shape around it.
void multiplyTransposed(MatrixView a, MatrixView b, double *out, int64_t outStride);

} // namespace fusebox::oracle
