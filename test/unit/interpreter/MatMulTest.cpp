// Tiles and tails change no sum.
#include "ir/interpreter/MatMul.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

using namespace fusebox::oracle;

TEST(MatMul, EveryShapeGivesTheSumOfItsDotProduct) {
  for (int64_t columns : {1, 7, 8, 9, 511, 512, 513, 1500}) {
    std::vector<double> a(9 * columns), b(11 * columns);
    for (size_t i = 0; i < a.size(); ++i)
      a[i] = std::sin(double(i));
    for (size_t i = 0; i < b.size(); ++i)
      b[i] = std::cos(0.3 * double(i));
    std::vector<double> whole(9 * 11), one(1);
    multiplyTransposed({a.data(), 9, columns, columns}, {b.data(), 11, columns, columns}, whole.data(), 11);
    for (int64_t i = 0; i < 9; ++i)
      for (int64_t j = 0; j < 11; ++j) {
        multiplyTransposed({&a[i * columns], 1, columns, columns}, {&b[j * columns], 1, columns, columns},
                           one.data(), 1);
        EXPECT_EQ(whole[i * 11 + j], one[0]);
        double sum = 0;
        for (int64_t k = 0; k < columns; ++k)
          sum += a[i * columns + k] * b[j * columns + k];
        EXPECT_NEAR(one[0], sum, 1e-12 * double(columns));
      }
  }
}
