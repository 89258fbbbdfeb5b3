#include "passes/analysis/WeightKernels.h"

#include "support/Dequantise.h"
#include "support/Float.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>

using namespace fusebox;

namespace {

// One function body for all CPUs: explicit lanes and explicit fma give the same bits at every vector width.
#if defined(__x86_64__) && !__has_feature(address_sanitizer)
#define FUSEBOX_EVERY_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FUSEBOX_EVERY_CPU
#endif
#define FUSEBOX_INLINE __attribute__((always_inline)) inline

using F32x16 = float __attribute__((vector_size(64)));
using U32x16 = uint32_t __attribute__((vector_size(64)));
using U16x32 = uint16_t __attribute__((vector_size(64)));

constexpr int64_t blockColumns = 32;

template <typename V> FUSEBOX_INLINE void load(V &out, const void *from) {
  std::memcpy(&out, from, sizeof(V));
}
FUSEBOX_INLINE void fmaInto(F32x16 &sum, const F32x16 &a, const F32x16 &b) {
  sum = __builtin_elementwise_fma(a, b, sum);
}
/// All lanes, by halves: a fixed tree.
FUSEBOX_INLINE double total(const F32x16 &sum) {
  using F32x8 = float __attribute__((vector_size(32)));
  using F32x4 = float __attribute__((vector_size(16)));
  F32x8 eight = __builtin_shufflevector(sum, sum, 0, 1, 2, 3, 4, 5, 6, 7) +
                __builtin_shufflevector(sum, sum, 8, 9, 10, 11, 12, 13, 14, 15);
  F32x4 four =
      __builtin_shufflevector(eight, eight, 0, 1, 2, 3) + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
  return double((four[0] + four[2]) + (four[1] + four[3]));
}

/// Even and odd columns of 32 stored bf16 values, as f32.
FUSEBOX_INLINE void widen(const std::byte *from, F32x16 &even, F32x16 &odd) {
  U32x16 bits;
  load(bits, from);
  even = std::bit_cast<F32x16>(bits << 16);
  odd = std::bit_cast<F32x16>(bits & 0xffff0000u);
}

FUSEBOX_INLINE F32x16 magnitude(const F32x16 &v) {
  return std::bit_cast<F32x16>(std::bit_cast<U32x16>(v) & 0x7fffffffu);
}

/// Two blocks of 16 values: their contribution to Σ (w s)² or to Σ |w| s.
template <bool Squares>
FUSEBOX_INLINE void accumulate(F32x16 a, F32x16 b, const float *scales, F32x16 &first, F32x16 &second) {
  F32x16 s, t;
  load(s, scales);
  load(t, scales + 16);
  if constexpr (Squares) {
    a *= s;
    b *= t;
    fmaInto(first, a, a);
    fmaInto(second, b, b);
  } else {
    fmaInto(first, magnitude(a), s);
    fmaInto(second, magnitude(b), t);
  }
}

/// Σ (w s)² or Σ |w| s over whole blocks of a bf16 row. Two blocks at a time keep more sums under way.
template <bool Squares>
FUSEBOX_INLINE double sumBf16(const std::byte *row, const float *scales, int64_t blocks) {
  F32x16 sums[4] = {}, a, b;
  int64_t i = 0;
  for (; i + 2 <= blocks; i += 2) {
    widen(row + 64 * i, a, b);
    accumulate<Squares>(a, b, scales + 32 * i, sums[0], sums[1]);
    widen(row + 64 * i + 64, a, b);
    accumulate<Squares>(a, b, scales + 32 * i + 32, sums[2], sums[3]);
  }
  if (i < blocks) {
    widen(row + 64 * i, a, b);
    accumulate<Squares>(a, b, scales + 32 * i, sums[0], sums[1]);
  }
  return total((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

template <bool Squares> FUSEBOX_INLINE double sumF32(const float *row, const float *scales, int64_t blocks) {
  F32x16 sums[2] = {}, a, b;
  for (int64_t i = 0; i < blocks; ++i) {
    load(a, row + 32 * i);
    load(b, row + 32 * i + 16);
    accumulate<Squares>(a, b, scales + 32 * i, sums[0], sums[1]);
  }
  return total(sums[0] + sums[1]);
}

FUSEBOX_EVERY_CPU double squaresBf16(const std::byte *row, const float *scales, int64_t blocks) {
  return sumBf16<true>(row, scales, blocks);
}
FUSEBOX_EVERY_CPU double magnitudesBf16(const std::byte *row, const float *scales, int64_t blocks) {
  return sumBf16<false>(row, scales, blocks);
}
FUSEBOX_EVERY_CPU double squaresF32(const float *row, const float *scales, int64_t blocks) {
  return sumF32<true>(row, scales, blocks);
}
FUSEBOX_EVERY_CPU double magnitudesF32(const float *row, const float *scales, int64_t blocks) {
  return sumF32<false>(row, scales, blocks);
}

FUSEBOX_EVERY_CPU void scaleRowBf16(const std::byte *row, const float *scales, int64_t blocks, float *out) {
  for (int64_t i = 0; i < blocks; ++i, row += 64, scales += 32, out += 32) {
    F32x16 a, b, s, t;
    widen(row, a, b);
    load(s, scales);
    load(t, scales + 16);
    a *= s;
    b *= t;
    std::memcpy(out, &a, sizeof a);
    std::memcpy(out + 16, &b, sizeof b);
  }
}

/// Magnitudes of bf16 values are ordered as their bits are, and NaNs lie above infinity.
FUSEBOX_EVERY_CPU void raiseBf16(const std::byte *row, uint16_t *largest, int64_t columns) {
  int64_t i = 0;
  for (; i + blockColumns <= columns; i += blockColumns) {
    U16x32 bits, have;
    load(bits, row + 2 * i);
    load(have, largest + i);
    have = __builtin_elementwise_max(have, bits & uint16_t(0x7fff));
    std::memcpy(largest + i, &have, sizeof have);
  }
  for (; i < columns; ++i) {
    uint16_t bits;
    std::memcpy(&bits, row + 2 * i, 2);
    largest[i] = std::max<uint16_t>(largest[i], bits & 0x7fff);
  }
}

/// Products of four rows with four rows, each of `blocks` · 32 floats.
FUSEBOX_EVERY_CPU void gramTile(const float *const *a, const float *const *b, int64_t blocks, double *out) {
  F32x16 sums[4][4] = {};
  for (int64_t k = 0; k < blocks * 2; ++k) {
    F32x16 rows[4], columns[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      load(rows[i], a[i] + 16 * k);
      load(columns[i], b[i] + 16 * k);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
        fmaInto(sums[i][j], rows[i], columns[j]);
  }
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j)
      out[4 * i + j] = total(sums[i][j]);
}

/// The row as f32 in `buffer`.
const float *widenRow(const MatrixView &matrix, int64_t row, std::vector<float> &buffer) {
  int64_t padded = (matrix.columns + blockColumns - 1) / blockColumns * blockColumns;
  buffer.assign(size_t(padded), 0.0f);
  [[maybe_unused]] auto widened =
      dequantiseRow(matrix.dtype, matrix.row(row), size_t(matrix.columns), buffer.data());
  assert(widened && "weights are checked to have a type that widens before they are analysed");
  if (matrix.roundedToBf16)
    for (float &value : buffer)
      value = bf16ToF32(f32ToBf16(value));
  return buffer.data();
}

thread_local std::vector<float> rowBuffer;

template <bool Squares> double exactSum(const MatrixView &matrix, int64_t row, const ColumnScales &scales) {
  const float *values = widenRow(matrix, row, rowBuffer);
  double sum = 0;
  for (int64_t i = 0; i < matrix.columns; ++i) {
    double product = std::fabs(double(values[i])) * scales.values()[size_t(i)];
    sum += Squares ? product * product : product;
  }
  return sum;
}

/// Row and column `i` of a Gram matrix, again in f64.
void exactGramRow(const MatrixView &matrix, const ColumnScales &scales, int64_t i, std::vector<double> &out) {
  int64_t count = matrix.rows;
  const float *values = widenRow(matrix, i, rowBuffer);
  std::vector<double> scaled(values, values + matrix.columns);
  if (std::all_of(scaled.begin(), scaled.end(), [](double value) { return value == 0; }))
    return;
  for (size_t k = 0; k < scaled.size(); ++k)
    scaled[k] *= scales.values()[k] * scales.values()[k];
  for (int64_t j = 0; j < count; ++j) {
    const float *other = widenRow(matrix, j, rowBuffer);
    double sum = 0;
    for (size_t k = 0; k < scaled.size(); ++k)
      sum += scaled[k] * double(other[k]);
    out[size_t(i * count + j)] = out[size_t(j * count + i)] = sum;
  }
}

/// f32 sums below or above these lose small terms or overflow.
constexpr double smallestTrusted = 1e-20, largestTrusted = 1e30;

template <bool Squares> double rowSum(const MatrixView &matrix, int64_t row, const ColumnScales &scales) {
  assert(scales.columns() == matrix.columns && "a scale for each column");
  double sum;
  if (matrix.dtype == DType::BF16 && matrix.columns % blockColumns == 0) {
    const std::byte *bytes = matrix.row(row).data();
    int64_t blocks = matrix.columns / blockColumns;
    sum = Squares ? squaresBf16(bytes, scales.interleaved(), blocks)
                  : magnitudesBf16(bytes, scales.interleaved(), blocks);
  } else {
    const float *values = widenRow(matrix, row, rowBuffer);
    int64_t blocks = int64_t(rowBuffer.size()) / blockColumns;
    sum =
        Squares ? squaresF32(values, scales.plain(), blocks) : magnitudesF32(values, scales.plain(), blocks);
  }
  if (sum >= smallestTrusted && sum <= largestTrusted)
    return sum;
  return exactSum<Squares>(matrix, row, scales);
}

} // namespace

ColumnScales::ColumnScales(std::span<const double> scales) : exact(scales.begin(), scales.end()) { pack(); }
ColumnScales::ColumnScales(int64_t columns) : exact(size_t(columns), 1.0) { pack(); }

void ColumnScales::pack() {
  size_t padded = (exact.size() + blockColumns - 1) / blockColumns * blockColumns;
  blocks.assign(padded, 0.0f);
  ordered.assign(padded, 0.0f);
  for (size_t i = 0; i < exact.size(); ++i) {
    ordered[i] = float(exact[i]);
    blocks[i / 32 * 32 + i % 2 * 16 + i % 32 / 2] = float(exact[i]);
  }
}

int64_t fusebox::nearCount(const MatrixView &matrix) {
  constexpr int64_t nearBytes = 256 << 10; // a quarter of a core's own cache
  int64_t unit = std::max<int64_t>(matrix.pairedRowsOf, 1);
  int64_t unitBytes = unit * int64_t(matrix.bytes.size()) / std::max<int64_t>(matrix.rows, 1);
  return unit * std::max<int64_t>(nearBytes / std::max<int64_t>(unitBytes, 1), 1);
}

MatrixView fusebox::nearRows(const MatrixView &matrix, int64_t first, int64_t count) {
  assert(
      (matrix.pairedRowsOf == 0 || (first % matrix.pairedRowsOf == 0 && count % matrix.pairedRowsOf == 0)) &&
      "whole heads");
  size_t rowBytes = matrix.bytes.size() / size_t(matrix.rows);
  MatrixView near = matrix;
  near.file = nullptr;
  near.rows = count;
  near.bytes = matrix.bytes.subspan(size_t(first) * rowBytes, size_t(count) * rowBytes);
  if (!matrix.file)
    return near;
  thread_local std::vector<std::byte> buffer;
  buffer.resize(std::max(buffer.size(), near.bytes.size()));
  std::span<std::byte> copy(buffer.data(), near.bytes.size());
  if (matrix.file->read(uint64_t(near.bytes.data() - matrix.file->bytes().data()), copy))
    near.bytes = copy;
  return near;
}

double fusebox::sumOfSquares(const MatrixView &matrix, int64_t row, const ColumnScales &scales) {
  return rowSum<true>(matrix, row, scales);
}

double fusebox::sumOfMagnitudes(const MatrixView &matrix, int64_t row, const ColumnScales &scales) {
  return rowSum<false>(matrix, row, scales);
}

std::vector<float> fusebox::columnMaxima(const MatrixView &matrix, int64_t first, int64_t last) {
  std::vector<float> largest(size_t(matrix.columns), 0.0f);
  if (matrix.dtype == DType::BF16) {
    std::vector<uint16_t> bits(largest.size(), 0);
    for (int64_t row = first; row < last; ++row)
      raiseBf16(matrix.row(row).data(), bits.data(), matrix.columns);
    for (size_t i = 0; i < bits.size(); ++i)
      largest[i] = bf16ToF32(bits[i]);
    return largest;
  }
  for (int64_t row = first; row < last; ++row) {
    const float *values = widenRow(matrix, row, rowBuffer);
    for (size_t i = 0; i < largest.size(); ++i) {
      float size = std::isnan(values[i]) ? std::numeric_limits<float>::infinity() : std::fabs(values[i]);
      largest[i] = std::max(largest[i], size);
    }
  }
  return largest;
}

void fusebox::gramMatrix(const MatrixView &all, int64_t first, int64_t count, const ColumnScales &scales,
                         std::vector<double> &out) {
  MatrixView matrix = nearRows(all, first, count);
  int64_t blocks = (matrix.columns + blockColumns - 1) / blockColumns, stride = blocks * blockColumns;
  // Rows scaled to f32, padded with zero rows to a multiple of four.
  int64_t padded = (count + 3) / 4 * 4;
  thread_local std::vector<float> rows;
  rows.assign(size_t(padded * stride), 0.0f);
  bool direct = matrix.dtype == DType::BF16 && matrix.columns % blockColumns == 0;
  for (int64_t i = 0; i < count; ++i) {
    float *to = rows.data() + i * stride;
    if (direct) {
      scaleRowBf16(matrix.row(i).data(), scales.interleaved(), blocks, to);
    } else {
      const float *values = widenRow(matrix, i, rowBuffer);
      for (int64_t j = 0; j < matrix.columns; ++j)
        to[j] = values[j] * scales.plain()[j];
    }
  }
  out.assign(size_t(count * count), 0.0);
  for (int64_t i = 0; i < padded; i += 4)
    for (int64_t j = 0; j <= i; j += 4) {
      const float *a[4], *b[4];
      for (int t = 0; t < 4; ++t) {
        a[t] = rows.data() + (i + t) * stride;
        b[t] = rows.data() + (j + t) * stride;
      }
      double tile[16];
      gramTile(a, b, blocks, tile);
      for (int64_t s = 0; s < 4 && i + s < count; ++s)
        for (int64_t t = 0; t < 4 && j + t < count; ++t)
          out[size_t((i + s) * count + j + t)] = out[size_t((j + t) * count + i + s)] = tile[4 * s + t];
    }
  for (int64_t i = 0; i < count; ++i)
    if (double square = out[size_t(i * count + i)]; !(square >= smallestTrusted && square <= largestTrusted))
      exactGramRow(matrix, scales, i, out);
}
