// One output is summed in chunks of 512 columns; inside a chunk, lane i of 8 takes columns 8 s + i by fused
// multiply-adds, the lanes are added in order, then the chunk's sum to the output. Tiles share loads and
// change no sum.
#include "ir/interpreter/MatMul.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace fusebox::oracle;

namespace {

constexpr int64_t lanes = 8, chunk = 512;
using Lanes = double __attribute__((vector_size(lanes * sizeof(double))));

[[gnu::always_inline]] inline Lanes load(const double *from) {
  Lanes value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

[[gnu::always_inline]] inline Lanes loadPart(const double *from, int64_t count) {
  Lanes value = {};
  std::memcpy(&value, from, size_t(count) * sizeof(double));
  return value;
}

/// Adds to M × N outputs the products of `count` columns, from `a` and `b` on.
template <int M, int N>
[[gnu::always_inline]] inline void tile(const double *a, int64_t aStride, const double *b, int64_t bStride,
                                        int64_t count, double *out, int64_t outStride) {
  Lanes sums[M][N] = {};
  auto accumulate = [&](auto loadLanes, int64_t k) __attribute__((always_inline)) {
    Lanes left[M], right[N];
    for (int i = 0; i < M; ++i)
      left[i] = loadLanes(a + i * aStride + k);
    for (int j = 0; j < N; ++j)
      right[j] = loadLanes(b + j * bStride + k);
    for (int i = 0; i < M; ++i)
      for (int j = 0; j < N; ++j)
        sums[i][j] = __builtin_elementwise_fma(left[i], right[j], sums[i][j]);
  };
  int64_t k = 0;
  for (; k + lanes <= count; k += lanes)
    accumulate([](const double *from) __attribute__((always_inline)) { return load(from); }, k);
  if (k < count)
    accumulate([&](const double *from) __attribute__((always_inline)) { return loadPart(from, count - k); },
               k);
  for (int i = 0; i < M; ++i)
    for (int j = 0; j < N; ++j) {
      double sum = 0;
      for (int64_t lane = 0; lane < lanes; ++lane)
        sum += sums[i][j][lane];
      out[i * outStride + j] += sum;
    }
}

template <int M, int N>
[[gnu::always_inline]] inline void multiply(MatrixView a, MatrixView b, double *out, int64_t outStride) {
  for (int64_t i = 0; i < a.rows; ++i)
    std::fill_n(out + i * outStride, b.rows, 0.0);
  for (int64_t k = 0; k < a.columns; k += chunk) {
    int64_t count = std::min(chunk, a.columns - k);
    for (int64_t i = 0; i < a.rows; i += M)
      for (int64_t j = 0; j < b.rows; j += N) {
        const double *left = a.row(i) + k, *right = b.row(j) + k;
        double *to = out + i * outStride + j;
        if (i + M <= a.rows && j + N <= b.rows) {
          tile<M, N>(left, a.stride, right, b.stride, count, to, outStride);
          continue;
        }
        for (int64_t m = 0; m < std::min<int64_t>(M, a.rows - i); ++m)
          for (int64_t n = 0; n < std::min<int64_t>(N, b.rows - j); ++n)
            tile<1, 1>(left + m * a.stride, a.stride, right + n * b.stride, b.stride, count,
                       to + m * outStride + n, outStride);
      }
  }
}

using Multiply = void (*)(MatrixView, MatrixView, double *, int64_t);

[[gnu::target("avx512f")]] void multiplyAvx512(MatrixView a, MatrixView b, double *out, int64_t stride) {
  multiply<4, 4>(a, b, out, stride);
}
[[gnu::target("avx2,fma")]] void multiplyAvx2(MatrixView a, MatrixView b, double *out, int64_t stride) {
  multiply<2, 2>(a, b, out, stride);
}
void multiplyAny(MatrixView a, MatrixView b, double *out, int64_t stride) {
  multiply<1, 1>(a, b, out, stride);
}

} // namespace

void fusebox::oracle::multiplyTransposed(MatrixView a, MatrixView b, double *out, int64_t outStride) {
  static const Multiply best = __builtin_cpu_supports("avx512f") ? multiplyAvx512
                               : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
                                   ? multiplyAvx2
                                   : multiplyAny;
  best(a, b, out, outStride);
}
