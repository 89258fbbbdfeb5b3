// Values of the oracle: rows of f64, and rounding to the IR's element types.
#pragma once

#include "support/Float.h"

#include "mlir/IR/TypeUtilities.h"

#include <cstdint>
#include <span>
#include <vector>

namespace fusebox::oracle {

/// A value of the IR: `rows` × `columns`, row-major, in f64 whatever its element type. Indices (tokens,
/// positions) are one column of whole numbers.
struct Tensor {
  Tensor() = default;
  Tensor(int64_t rows, int64_t columns) : rows(rows), columns(columns), values(size_t(rows * columns)) {}

  int64_t rows = 0, columns = 0;
  std::vector<double> values;

  std::span<double> row(int64_t r) { return {values.data() + r * columns, size_t(columns)}; }
  std::span<const double> row(int64_t r) const { return {values.data() + r * columns, size_t(columns)}; }
};

/// The type that values are rounded to; None keeps f64.
enum class Rounding { None, F32, F16, BF16 };

/// The rounding that a type of rows stands for.
inline Rounding roundingOf(mlir::Type type) {
  mlir::Type element = mlir::getElementTypeOrSelf(type);
  return element.isBF16()  ? Rounding::BF16
         : element.isF16() ? Rounding::F16
         : element.isF32() ? Rounding::F32
                           : Rounding::None;
}

/// Rounds to nearest, ties to even. Narrow types are rounded from f32, as in the reference: what is computed
/// "in f32" is an f32 first, even a sum that was taken in f64.
inline double roundTo(Rounding rounding, double value) {
  switch (rounding) {
  case Rounding::None:
    return value;
  case Rounding::F32:
    return float(value);
  case Rounding::F16:
    return double(_Float16(float(value)));
  case Rounding::BF16:
    return bf16ToF32(f32ToBf16(float(value)));
  }
  return value;
}

} // namespace fusebox::oracle
