#include "passes/analysis/Spectral.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <vector>

using namespace fusebox;

namespace {

using F64x8 = double __attribute__((vector_size(64)));

#if defined(__x86_64__) && !__has_feature(address_sanitizer)
#define FUSEBOX_EVERY_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FUSEBOX_EVERY_CPU
#endif

/// Σ a_i b_i in eight lanes; n a multiple of 8.
__attribute__((always_inline)) inline double dot(const double *a, const double *b, int64_t n) {
  F64x8 sum = {};
  for (int64_t i = 0; i < n; i += 8) {
    F64x8 x, y;
    __builtin_memcpy(&x, a + i, sizeof x);
    __builtin_memcpy(&y, b + i, sizeof y);
    sum = __builtin_elementwise_fma(x, y, sum);
  }
  return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

/// One step of power iteration on the padded matrix: out = A v; returns |out|.
FUSEBOX_EVERY_CPU double multiply(const double *matrix, const double *v, double *out, int64_t n,
                                  int64_t stride) {
  double square = 0;
  for (int64_t i = 0; i < n; ++i) {
    out[i] = dot(matrix + i * stride, v, stride);
    square += out[i] * out[i];
  }
  return std::sqrt(square);
}

/// Whether c·I − A has a Cholesky factor, i.e. every eigenvalue of A lies below c. `factor` is scratch.
FUSEBOX_EVERY_CPU bool isBelow(const double *matrix, double c, double *factor, int64_t n, int64_t stride) {
  for (int64_t i = 0; i < n; ++i) {
    double *row = factor + i * stride;
    std::fill(row, row + stride, 0.0);
    for (int64_t j = 0; j <= i; ++j) {
      double *other = factor + j * stride;
      // Elements past j of either row are zero or not yet written in `row`: whole lanes may be summed.
      double sum = dot(row, other, (j + 7) / 8 * 8);
      double rest = (i == j ? c : 0.0) - matrix[i * stride + j] - sum;
      if (i != j) {
        row[j] = rest / other[j];
      } else {
        if (!(rest > 0))
          return false;
        row[j] = std::sqrt(rest);
      }
    }
  }
  return true;
}

} // namespace

double fusebox::largestEigenvalue(double a, double b, double c) {
  return (a + c) / 2 + std::sqrt((a - c) / 2 * ((a - c) / 2) + b * b);
}

double fusebox::largestEigenvalueBound(std::span<const double> matrix, int64_t n) {
  assert(int64_t(matrix.size()) == n * n && "a square matrix");
  constexpr int iterations = 12;
  constexpr double firstMargin = 1.01, step = 1.02, roundingMargin = 1 + 1e-10;
  int64_t stride = (n + 7) / 8 * 8;
  thread_local std::vector<double> padded, factor, v, next;
  padded.assign(size_t(n * stride), 0.0);
  factor.resize(size_t(n * stride));
  v.assign(size_t(stride), 0.0);
  next.assign(size_t(stride), 0.0);
  double trace = 0;
  for (int64_t i = 0; i < n; ++i) {
    std::copy_n(matrix.data() + i * n, n, padded.data() + i * stride);
    trace += matrix[size_t(i * n + i)];
  }
  if (!std::isfinite(trace))
    return std::numeric_limits<double>::infinity();
  if (trace == 0)
    return 0;
  // Start from the row sums of magnitudes: near the leading vector where rows correlate.
  for (int64_t i = 0; i < n; ++i)
    v[size_t(i)] = std::sqrt(matrix[size_t(i * n + i)]);
  double estimate = 0;
  for (int i = 0; i < iterations; ++i) {
    double before = std::sqrt(dot(v.data(), v.data(), stride));
    if (before == 0)
      break;
    for (double &x : v)
      x /= before;
    estimate = multiply(padded.data(), v.data(), next.data(), n, stride);
    std::swap(v, next);
  }
  double largest = 0;
  for (int64_t i = 0; i < n; ++i)
    largest = std::max(largest, matrix[size_t(i * n + i)]);
  double candidate = std::max(estimate, largest) * firstMargin;
  while (candidate < trace && !isBelow(padded.data(), candidate, factor.data(), n, stride))
    candidate *= step;
  return std::min(candidate, trace) * roundingMargin;
}
