#include "passes/analysis/Facts.h"

using namespace fusebox;

std::span<const std::byte> MatrixView::row(int64_t row) const {
  if (pairedRowsOf != 0) {
    int64_t head = row / pairedRowsOf, within = row % pairedRowsOf, half = pairedRowsOf / 2;
    row = head * pairedRowsOf + 2 * (within % half) + within / half;
  }
  size_t size = bytes.size() / size_t(rows);
  return bytes.subspan(size_t(row) * size, size);
}

RotaryPairs fusebox::rotaryPairs(RopeStyle style, int64_t headDim, int64_t rotaryDim) {
  RotaryPairs result;
  int64_t half = rotaryDim / 2;
  for (int64_t j = 0; j < half; ++j) {
    if (style == RopeStyle::HalfSplit)
      result.pairs.emplace_back(j, j + half);
    else
      result.pairs.emplace_back(2 * j, 2 * j + 1);
  }
  for (int64_t j = 2 * half; j < headDim; ++j)
    result.single.push_back(j);
  return result;
}
