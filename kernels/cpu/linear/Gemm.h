// The linear kernel for many rows: register tiles over a packed panel of weight rows.
//
// A task packs `tileColumns` weight rows at a time into scratch (widened or unpacked once, aligned, in the
// order the tile reads them; it stays in the first-level cache) and runs all its token rows over them.
#pragma once

#include "kernels/cpu/linear/Epilogue.h"
#include "kernels/cpu/numerics/Rows.h"

namespace fusebox::cpu {

/// A task's scratch; sizes as KernelTable's scratch formula has them.
template <typename Way> struct Panel {
  typename Way::Weight *weights; ///< [step][column]
  float *scales;                 ///< [block][column]
  float *minima;                 ///< [block][8]
  float *xSums;                  ///< [row of the task][block]
  v16f *lanes;                   ///< [row of the task][column], between blocks of a long sum
  char *quantised;               ///< [row of the task], where the way quantises activations
  const char *x;                 ///< the task's first row, as the tiles read it
  int64_t xStride;               ///< bytes
};

inline constexpr int panelColumns = 6; ///< at least every way's tileColumns
inline constexpr int minimaStride = 8;

/// Sums longer than this many steps are cut, so that the panel's part in use stays in the first-level cache.
inline constexpr int64_t longSumSteps = 96, sumBlockSteps = 64;

template <typename Way> FB_INLINE Panel<Way> panelIn(void *scratch, int64_t in, int64_t rowTile) {
  const int64_t steps = (in + Way::step - 1) / Way::step;
  Panel<Way> panel;
  panel.weights = static_cast<typename Way::Weight *>(scratch);
  panel.quantised = reinterpret_cast<char *>(panel.weights + steps * panelColumns);
  if constexpr (Way::quantises)
    panel.lanes = reinterpret_cast<v16f *>(panel.quantised + rowTile * Way::quantisedRowBytes(in));
  else
    panel.lanes = reinterpret_cast<v16f *>(panel.quantised);
  const int64_t laneVectors = steps > longSumSteps ? rowTile * panelColumns : 0;
  panel.scales = reinterpret_cast<float *>(panel.lanes + laneVectors);
  panel.minima = panel.scales + steps * panelColumns;
  panel.xSums = panel.minima + (in + blockElements - 1) / blockElements * minimaStride;
  return panel;
}

template <typename Way, int Columns>
FB_INLINE void packPanel(const LinearShape *shape, const char *weight, int64_t column, Panel<Way> panel) {
  const int64_t in = shape->in, rowBytes = Way::weightRowBytes(in), whole = in / Way::step;
  const auto pack = [&]<bool Whole>(int64_t s) FB_INLINE_LAMBDA {
    FB_UNROLL for (int c = 0; c < Columns; ++c) {
      const char *row = weight + (column + c) * rowBytes;
      panel.weights[s * Columns + c] = Way::template loadWeight<Whole>(row, s * Way::step, in);
      if constexpr (Way::scaled)
        panel.scales[s * Columns + c] = blockScale(Way::block(row, s * Way::step));
      if constexpr (Way::minimum)
        for (int64_t k = s * Way::step; k < (Whole ? (s + 1) * Way::step : in); k += blockElements)
          panel.minima[k / blockElements * minimaStride + c] = blockMinimum(Way::block(row, k));
    }
  };
  for (int64_t s = 0; s < whole; ++s)
    pack.template operator()<true>(s);
  if (whole * Way::step < in)
    pack.template operator()<false>(whole);
}

/// Adds steps [begin, end) to the lanes of a Rows × Columns tile.
template <typename Way, int Rows, int Columns>
FB_INLINE void addSteps(const LinearShape *shape, Panel<Way> panel, int64_t localRow, int64_t begin,
                        int64_t end, v16f *lanes) {
  const int64_t in = shape->in;
  const char *x = panel.x + localRow * panel.xStride;
  v16f acc[Rows][Columns];
  FB_UNROLL for (int r = 0; r < Rows; ++r) FB_UNROLL for (int c = 0; c < Columns; ++c) acc[r][c] =
      lanes[r * Columns + c];
  const auto body = [&]<bool Whole>(int64_t s) FB_INLINE_LAMBDA {
    typename Way::Input input[Rows];
    FB_UNROLL for (int r = 0; r < Rows; ++r) input[r] =
        Way::template loadInput<Whole>(x + r * panel.xStride, s * Way::step, in);
    FB_UNROLL for (int c = 0; c < Columns; ++c) {
      const typename Way::Weight w = panel.weights[s * Columns + c];
      const float scale = Way::scaled ? panel.scales[s * Columns + c] : 0.0f;
      FB_UNROLL for (int r = 0; r < Rows; ++r) acc[r][c] = Way::accumulate(acc[r][c], input[r], w, scale);
    }
  };
  const int64_t whole = in / Way::step;
  _Pragma("clang loop unroll(disable)") for (int64_t s = begin; s < (end < whole ? end : whole); ++s)
      body.template operator()<true>(s);
  if (end > whole)
    body.template operator()<false>(whole);
  FB_UNROLL for (int r = 0; r < Rows; ++r) FB_UNROLL for (int c = 0; c < Columns; ++c)
      lanes[r * Columns + c] = acc[r][c];
}

/// Σ over blocks of m · Σx for a row of the tile: one FMA chain a column.
template <typename Way> FB_INLINE v8f minimumTerm(Panel<Way> panel, const float *xSums, int64_t blocks) {
  v8f sum = v8f(0.0f);
  for (int64_t b = 0; b < blocks; ++b)
    sum = __builtin_elementwise_fma(load<v8f>(panel.minima + b * minimaStride), v8f(xSums[b]), sum);
  return sum;
}

/// Steps [begin, end) of a tile whose first row is `row` (of the step) and `localRow` (of the task); stores
/// the outputs when `end` is the sum's.
template <typename Way, int Rows, int Columns>
FB_INLINE void tile(const LinearShape *shape, void *const *args, Panel<Way> panel, const float *bias,
                    int64_t row, int64_t localRow, int64_t column, int64_t begin, int64_t end) {
  constexpr int count = Rows * Columns, groups = (count + lanes - 1) / lanes;
  const int64_t steps = (shape->in + Way::step - 1) / Way::step;
  v16f sums[groups * lanes];
  FB_UNROLL for (int i = 0; i < groups * lanes; ++i) sums[i] = splat(0.0f);
  v16f *kept = panel.lanes + localRow * Columns;
  if (begin > 0)
    FB_UNROLL for (int i = 0; i < count; ++i) sums[i] = kept[i];
  addSteps<Way, Rows, Columns>(shape, panel, localRow, begin, end, sums);
  if (end < steps) {
    FB_UNROLL for (int i = 0; i < count; ++i) kept[i] = sums[i];
    return;
  }
  float extra[groups * lanes];
  if constexpr (Way::minimum) {
    const int64_t blocks = shape->in / blockElements;
    FB_UNROLL for (int r = 0; r < Rows; ++r) {
      const v8f term = minimumTerm(panel, panel.xSums + (localRow + r) * blocks, blocks);
      FB_UNROLL for (int c = 0; c < Columns; ++c) extra[r * Columns + c] = term[c];
    }
  }
  char results[groups * lanes * 4];
  FB_UNROLL for (int g = 0; g < groups; ++g) {
    v16f value = sumLanes16(sums + g * lanes);
    if constexpr (Way::minimum)
      value = value + load<v16f>(extra + g * lanes);
    if (shape->hasBias)
      value = value + load<v16f>(bias + g * lanes);
    storeOutput(shape, results, g * lanes, value, lanes);
  }
  char *out = static_cast<char *>(args[0]);
  const int64_t first = row * shape->out + column;
  FB_UNROLL for (int r = 0; r < Rows; ++r) {
    if (shape->outType == int64_t(DType::F32))
      __builtin_memcpy_inline(out + (first + r * shape->out) * 4, results + r * Columns * 4, Columns * 4);
    else
      __builtin_memcpy_inline(out + (first + r * shape->out) * 2, results + r * Columns * 2, Columns * 2);
  }
}

/// All rows of the task over `Columns` columns.
template <typename Way, int Columns>
FB_INLINE void panelRows(const LinearShape *shape, void *const *args, Panel<Way> panel, RowRange rows,
                         int64_t column) {
  packPanel<Way, Columns>(shape, static_cast<const char *>(args[2]), column, panel);
  constexpr int places = (Way::tileRows * Columns + lanes - 1) / lanes * lanes;
  float bias[places];
  if (shape->hasBias) {
    FB_UNROLL for (int i = 0; i < places; ++i) bias[i] =
        loadBias(shape, biasOf(shape, args), column + i % Columns);
  }
  const int64_t steps = (shape->in + Way::step - 1) / Way::step;
  const int64_t block = steps > longSumSteps ? sumBlockSteps : steps;
  _Pragma("clang loop unroll(disable)") for (int64_t begin = 0; begin < steps; begin += block) {
    const int64_t end = begin + block < steps ? begin + block : steps;
    int64_t row = rows.begin;
    _Pragma("clang loop unroll(disable)") for (; row + Way::tileRows <= rows.end; row += Way::tileRows)
        tile<Way, Way::tileRows, Columns>(shape, args, panel, bias, row, row - rows.begin, column, begin,
                                          end);
    _Pragma("clang loop unroll(disable)") for (; row < rows.end; ++row)
        tile<Way, 1, Columns>(shape, args, panel, bias, row, row - rows.begin, column, begin, end);
  }
}

/// Task: rowTile rows × colTile columns; tasks of one row tile follow each other.
template <typename Way>
void linearMatrix(const LinearShape *shape, void *const *args, const StepView *step, void *scratch,
                  int64_t task) {
  const int64_t columnTasks = (shape->out + shape->colTile - 1) / shape->colTile;
  const RowRange rows = tileRows(shape->rowExtent, shape->rowTile, step, task / columnTasks);
  const int64_t begin = task % columnTasks * shape->colTile;
  const int64_t end = begin + shape->colTile < shape->out ? begin + shape->colTile : shape->out;
  Panel<Way> panel = panelIn<Way>(scratch, shape->in, shape->rowTile);
  panel.xStride = shape->in * (shape->inType == int64_t(DType::F32) ? 4 : 2);
  panel.x = static_cast<const char *>(args[1]) + rows.begin * panel.xStride;
  const int64_t blocks = shape->in / blockElements;
  if constexpr (Way::quantises) {
    const int64_t stride = Way::quantisedRowBytes(shape->in);
    for (int64_t row = 0; row < rows.end - rows.begin; ++row)
      Way::quantiseRow(panel.x + row * panel.xStride, shape->in, panel.quantised + row * stride,
                       panel.xSums + row * blocks);
    panel.x = panel.quantised;
    panel.xStride = stride;
  } else if constexpr (Way::minimum) {
    for (int64_t row = 0; row < rows.end - rows.begin; ++row)
      blockSums(panel.x + row * panel.xStride, shape->in, panel.xSums + row * blocks);
  }
  int64_t column = begin;
  _Pragma("clang loop unroll(disable)") for (; column + Way::tileColumns <= end; column += Way::tileColumns)
      panelRows<Way, Way::tileColumns>(shape, args, panel, rows, column);
  if (shape->out % Way::tileColumns != 0)
    _Pragma("clang loop unroll(disable)") for (; column < end; ++column)
        panelRows<Way, 1>(shape, args, panel, rows, column);
}

} // namespace fusebox::cpu
