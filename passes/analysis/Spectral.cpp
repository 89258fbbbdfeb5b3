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

/// out = A v.
FUSEBOX_EVERY_CPU void multiply(const double *matrix, const double *v, double *out, int64_t n,
                                int64_t stride) {
  for (int64_t i = 0; i < n; ++i)
    out[i] = dot(matrix + i * stride, v, stride);
}

/// Whether c·I − A is positive definite, i.e. every eigenvalue of A lies below c: elimination finds no pivot
/// ≤ 0. `work` is scratch of the padded matrix's size.
FUSEBOX_EVERY_CPU bool isBelow(const double *matrix, double c, double *work, int64_t n, int64_t stride) {
  for (int64_t i = 0; i < n * stride; ++i)
    work[i] = -matrix[i];
  for (int64_t i = 0; i < n; ++i)
    work[i * stride + i] += c;
  for (int64_t k = 0; k < n; ++k) {
    const double *pivotRow = work + k * stride;
    double pivot = pivotRow[k];
    if (!(pivot > 0))
      return false;
    for (int64_t i = k + 1; i < n; ++i) {
      double *row = work + i * stride;
      double factor = -pivotRow[i] / pivot;
      F64x8 factors = {factor, factor, factor, factor, factor, factor, factor, factor};
      // Whole lanes: what lies left of the diagonal is never read again.
      for (int64_t j = i / 8 * 8; j < stride; j += 8) {
        F64x8 x, y;
        __builtin_memcpy(&x, row + j, sizeof x);
        __builtin_memcpy(&y, pivotRow + j, sizeof y);
        x = __builtin_elementwise_fma(factors, y, x);
        __builtin_memcpy(row + j, &x, sizeof x);
      }
    }
  }
  return true;
}

/// Largest eigenvalue of the symmetric tridiagonal matrix with that diagonal and off-diagonal, by bisection.
double largestOfTridiagonal(const std::vector<double> &diagonal, const std::vector<double> &off) {
  double low = 0, high = 0;
  for (size_t i = 0; i < diagonal.size(); ++i) {
    double left = i == 0 ? 0 : std::fabs(off[i - 1]), right = i < off.size() ? std::fabs(off[i]) : 0;
    low = std::max(low, diagonal[i]);
    high = std::max(high, diagonal[i] + left + right);
  }
  for (int step = 0; step < 40 && high > low; ++step) {
    double middle = (low + high) / 2, pivot = 1;
    bool below = true; // middle·I − T positive definite
    for (size_t i = 0; i < diagonal.size() && below; ++i) {
      pivot = middle - diagonal[i] - (i == 0 ? 0 : off[i - 1] * off[i - 1] / pivot);
      below = pivot > 0;
    }
    (below ? high : low) = middle;
  }
  return high;
}

/// An estimate of the largest eigenvalue, from below: a few steps of Lanczos' method. `v` is the start, not
/// 0.
double estimateLargest(const double *matrix, std::vector<double> &v, int64_t n, int64_t stride) {
  constexpr int64_t steps = 24;
  thread_local std::vector<double> before, next, diagonal, off;
  before.assign(size_t(stride), 0.0);
  next.assign(size_t(stride), 0.0);
  diagonal.clear();
  off.clear();
  double length = std::sqrt(dot(v.data(), v.data(), stride)), previous = 0;
  for (int64_t step = 0; step < std::min(steps, n); ++step) {
    for (double &x : v)
      x /= length;
    multiply(matrix, v.data(), next.data(), n, stride);
    double along = dot(next.data(), v.data(), stride);
    diagonal.push_back(along);
    for (int64_t i = 0; i < stride; ++i)
      next[size_t(i)] -= along * v[size_t(i)] + previous * before[size_t(i)];
    length = std::sqrt(dot(next.data(), next.data(), stride));
    if (!(length > 1e-12 * along))
      break; // the start lies in an invariant subspace
    off.push_back(length);
    previous = length;
    std::swap(before, v);
    std::swap(v, next);
  }
  off.resize(diagonal.size() - 1);
  return largestOfTridiagonal(diagonal, off);
}

} // namespace

double fusebox::largestEigenvalue(double a, double b, double c) {
  return (a + c) / 2 + std::sqrt((a - c) / 2 * ((a - c) / 2) + b * b);
}

double fusebox::largestEigenvalueBound(std::span<const double> matrix, int64_t n) {
  assert(int64_t(matrix.size()) == n * n && "a square matrix");
  constexpr double firstMargin = 1.01, step = 1.02, roundingMargin = 1 + 1e-10;
  int64_t stride = (n + 7) / 8 * 8;
  thread_local std::vector<double> padded, work, v;
  padded.assign(size_t(n * stride), 0.0);
  work.resize(size_t(n * stride));
  v.assign(size_t(stride), 0.0);
  double trace = 0, largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    std::copy_n(matrix.data() + i * n, n, padded.data() + i * stride);
    double own = matrix[size_t(i * n + i)];
    trace += own;
    largest = std::max(largest, own);
    // A start near the leading vector where rows correlate; signs differ so that it is not orthogonal to it.
    v[size_t(i)] = (i % 3 == 2 ? -1 : 1) * std::sqrt(own);
  }
  if (!std::isfinite(trace))
    return std::numeric_limits<double>::infinity();
  if (trace == 0)
    return 0;
  double estimate = estimateLargest(padded.data(), v, n, stride);
  double candidate = std::max(estimate, largest) * firstMargin;
  while (candidate < trace && !isBelow(padded.data(), candidate, work.data(), n, stride))
    candidate *= step;
  return std::min(candidate, trace) * roundingMargin;
}
