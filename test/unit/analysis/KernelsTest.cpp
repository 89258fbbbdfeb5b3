// Sums over stored weights and eigenvalue bounds, against plain loops.
#include "passes/analysis/Spectral.h"
#include "passes/analysis/WeightKernels.h"
#include "support/AtomicFile.h"
#include "test/unit/analysis/TestModel.h"

#include <algorithm>
#include <gtest/gtest.h>

using namespace fusebox;
using fusebox::test::TestModel;

namespace {

double naiveSquares(const MatrixView &matrix, int64_t row, const std::vector<double> &scales) {
  double sum = 0;
  for (int64_t i = 0; i < matrix.columns; ++i)
    sum += std::pow(TestModel::at(matrix, row, i) * scales[size_t(i)], 2);
  return sum;
}

TEST(WeightKernels, MatchPlainSums) {
  TestModel model({});
  for (int64_t columns : {32, 64, 96, 100, 7, 1024}) {
    MatrixView matrix = model.matrix(5, columns);
    std::vector<double> gains = model.gains(columns);
    ColumnScales scales(gains);
    for (int64_t row = 0; row < 5; ++row) {
      double expected = naiveSquares(matrix, row, gains), magnitudes = 0;
      for (int64_t i = 0; i < columns; ++i)
        magnitudes += std::fabs(TestModel::at(matrix, row, i)) * gains[size_t(i)];
      EXPECT_NEAR(sumOfSquares(matrix, row, scales), expected, 1e-5 * expected);
      EXPECT_NEAR(sumOfMagnitudes(matrix, row, scales), magnitudes, 1e-5 * magnitudes);
    }
  }
}

TEST(WeightKernels, RowsReadFromAFileAreTheMappedOnes) {
  TestModel model({});
  MatrixView stored = model.matrix(24, 96);
  std::string path = testing::TempDir() + "near-rows.bin";
  constexpr size_t header = 8; // tensors of a safetensors file are aligned to 8 bytes only
  std::vector<std::byte> content(header);
  content.insert(content.end(), stored.bytes.begin(), stored.bytes.end());
  ASSERT_TRUE(writeFileAtomically(path, content));
  auto file = MappedFile::open(path);
  ASSERT_TRUE(file);
  for (int64_t paired : {0, 8}) {
    MatrixView matrix = stored;
    matrix.bytes = file->bytes().subspan(header);
    matrix.file = &*file;
    matrix.pairedRowsOf = paired;
    MatrixView near = nearRows(matrix, 8, 16);
    EXPECT_NE(near.bytes.data(), matrix.bytes.subspan(8 * 96 * 2).data()) << "a copy";
    for (int64_t row = 0; row < 16; ++row)
      EXPECT_TRUE(std::ranges::equal(near.row(row), matrix.row(8 + row)));
    EXPECT_EQ(nearCount(matrix) % std::max<int64_t>(paired, 1), 0) << "whole heads";
  }
  EXPECT_EQ(nearRows(stored, 3, 5).bytes.data(), stored.row(3).data()) << "in place without a file";
}

TEST(WeightKernels, SumAgainInF64WhatF32WouldLose) {
  TestModel model({});
  MatrixView matrix = model.matrix(2, 64);
  for (int64_t i = 0; i < 64; ++i) {
    model.set(matrix, 0, i, 0x1p-120);
    model.set(matrix, 1, i, 0x1p100);
  }
  ColumnScales ones(64);
  EXPECT_DOUBLE_EQ(sumOfSquares(matrix, 0, ones), 64 * 0x1p-240);
  EXPECT_DOUBLE_EQ(sumOfSquares(matrix, 1, ones), 64 * 0x1p200);
}

TEST(WeightKernels, NotFiniteStaysNotFinite) {
  TestModel model({});
  MatrixView matrix = model.matrix(2, 64);
  model.set(matrix, 0, 3, std::numeric_limits<double>::quiet_NaN());
  model.set(matrix, 1, 3, std::numeric_limits<double>::infinity());
  ColumnScales ones(64);
  EXPECT_FALSE(std::isfinite(sumOfSquares(matrix, 0, ones)));
  EXPECT_FALSE(std::isfinite(sumOfMagnitudes(matrix, 1, ones)));
  EXPECT_FALSE(std::isfinite(columnMaxima(matrix, 0, 1)[3]));
}

TEST(WeightKernels, ColumnMaximaAreMagnitudes) {
  TestModel model({});
  for (int64_t columns : {64, 100}) {
    MatrixView matrix = model.matrix(7, columns);
    std::vector<float> largest = columnMaxima(matrix, 1, 7);
    for (int64_t i = 0; i < columns; ++i) {
      double expected = 0;
      for (int64_t row = 1; row < 7; ++row)
        expected = std::max(expected, std::fabs(TestModel::at(matrix, row, i)));
      EXPECT_EQ(largest[size_t(i)], float(expected));
    }
  }
}

TEST(WeightKernels, ScaleWithPowersOfTwoBitForBit) {
  TestModel model({});
  MatrixView matrix = model.matrix(1, 100), scaled = model.matrix(1, 100);
  for (int64_t i = 0; i < 100; ++i)
    model.set(scaled, 0, i, 8 * TestModel::at(matrix, 0, i));
  ColumnScales gains(model.gains(100));
  EXPECT_EQ(sumOfSquares(scaled, 0, gains), 64 * sumOfSquares(matrix, 0, gains));
}

TEST(WeightKernels, GramMatrixMatchesPlainProducts) {
  TestModel model({});
  MatrixView matrix = model.matrix(12, 96);
  std::vector<double> gains = model.gains(96);
  ColumnScales scales(gains);
  std::vector<double> gram;
  gramMatrix(matrix, 2, 10, scales, gram);
  for (int64_t a = 0; a < 10; ++a)
    for (int64_t b = 0; b < 10; ++b) {
      double expected = 0;
      for (int64_t i = 0; i < 96; ++i)
        expected += TestModel::at(matrix, 2 + a, i) * TestModel::at(matrix, 2 + b, i) * gains[size_t(i)] *
                    gains[size_t(i)];
      EXPECT_NEAR(gram[size_t(a * 10 + b)], expected, 1e-5);
    }
}

TEST(Spectral, BoundHoldsAndIsNear) {
  TestModel model({});
  for (int64_t n : {1, 2, 5, 16, 33, 64}) {
    MatrixView matrix = model.matrix(n, 96);
    std::vector<double> gram;
    gramMatrix(matrix, 0, n, ColumnScales(96), gram);
    // Power iteration to convergence: the true value from below.
    std::vector<double> v(size_t(n), 1.0);
    double largest = 0;
    for (int step = 0; step < 2000; ++step) {
      std::vector<double> next(size_t(n), 0.0);
      double length = 0;
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < n; ++j)
          next[size_t(i)] += gram[size_t(i * n + j)] * v[size_t(j)];
        length += next[size_t(i)] * next[size_t(i)];
      }
      largest = std::sqrt(length);
      for (double &x : next)
        x /= largest;
      v = next;
    }
    double bound = largestEigenvalueBound(gram, n);
    EXPECT_GE(bound, largest * (1 - 1e-12)) << n;
    EXPECT_LE(bound, largest * 1.07) << n;
  }
  std::vector<double> zeros(9, 0.0), bad(4, std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(largestEigenvalueBound(zeros, 3), 0);
  EXPECT_EQ(largestEigenvalueBound(bad, 2), std::numeric_limits<double>::infinity());
}

TEST(Spectral, TwoByTwo) { EXPECT_DOUBLE_EQ(largestEigenvalue(2, 1, 2), 3); }

TEST(Spectral, KeepsPowersOfTwo) {
  TestModel model({});
  MatrixView matrix = model.matrix(16, 96);
  std::vector<double> gram;
  gramMatrix(matrix, 0, 16, ColumnScales(96), gram);
  std::vector<double> scaled = gram;
  for (double &x : scaled)
    x *= 0x1p20;
  EXPECT_EQ(largestEigenvalueBound(scaled, 16), 0x1p20 * largestEigenvalueBound(gram, 16));
}

} // namespace
