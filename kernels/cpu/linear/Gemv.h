// The linear kernel for one row: weights are read once, straight from where they lie, at memory speed.
#pragma once

#include "kernels/cpu/linear/Epilogue.h"
#include "kernels/cpu/numerics/Rows.h"

namespace fusebox::cpu {

/// Columns whose chains run side by side. Blocks take work to unpack, and four columns share the activations'
/// part of it. Where a step reads whole lines, memory is all that counts, and it is read as one stream,
/// column after column: the CPU has the next ones' chains under way before one ends. (Four rows at once, each
/// with its own prefetches, read 0.65 of what a plain read does on a Zen 3, one after another 0.9.)
template <typename Way> inline constexpr int gemvColumns = Way::stepBytes % 64 == 0 ? 1 : 4;
/// How far ahead of its use a weight is asked for: more than a core's share of bandwidth times the memory's
/// latency.
inline constexpr int64_t gemvAheadBytes = 4096;

/// Asks for what step `index` of a group of columns needs `distance` bytes later, the group as one stream.
template <typename Way> FB_INLINE void prefetchAhead(const char *group, int64_t index, int64_t distance) {
  constexpr int64_t bytes = gemvColumns<Way> * Way::stepBytes;
  const char *ahead = group + index * bytes + distance;
  FB_UNROLL for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(ahead + i);
}

/// The row of activations as a thread's tasks read it, made by the first of them.
struct VectorRow {
  const char *x;
  float *xSums; ///< Σx of each block, where the way needs them
  bool isNew;   ///< its first task has yet to make it
};

/// A vector task's scratch: a mark, Σx of blocks, and the row where tasks don't read it as it lies in memory;
/// sizes as KernelTable's vectorBytes has them.
FB_INLINE char *scratchRow(const LinearShape *shape, void *scratch) {
  return static_cast<char *>(scratch) + 64 + (shape->in / blockElements * 4 + 63) / 64 * 64;
}
FB_INLINE VectorRow vectorRow(const char *x, void *scratch, int64_t row) {
  const bool isNew = load<int64_t>(scratch) != row + 1;
  store(scratch, row + 1);
  return {x, reinterpret_cast<float *>(static_cast<char *>(scratch) + 64), isNew};
}

/// What the way itself makes of the row.
template <typename Way> FB_INLINE void prepareRow(const LinearShape *shape, VectorRow &row, void *scratch) {
  if constexpr (Way::quantises) {
    char *quantised = scratchRow(shape, scratch);
    if (row.isNew)
      Way::quantiseRow(row.x, shape->in, quantised, row.xSums);
    row.x = quantised;
  } else if constexpr (Way::minimum) {
    if (row.isNew)
      blockSums(row.x, shape->in, row.xSums);
  }
}

/// Asks for the first weights that a thread reads of a launch; later ones are asked for while it computes.
template <typename Way>
FB_INLINE void prefetchFirst(const LinearShape *shape, const char *weight, int64_t column) {
  const char *first = weight + column * Way::weightRowBytes(shape->in);
  for (int64_t i = 0; i < gemvAheadBytes; i += 64)
    __builtin_prefetch(first + i);
}

/// Lanes and minimum sums of columns [column, column + gemvColumns<Way>) into sums and minima; columns past
/// the matrix repeat the last one. Weights are asked for beyond these: the thread's next task reads on there.
template <typename Way>
FB_INLINE void gemvGroup(const LinearShape *shape, const char *x, const char *weight, const float *xSums,
                         int64_t column, v16f *sums, float *minima) {
  const int64_t in = shape->in, rowBytes = Way::weightRowBytes(in);
  constexpr int columns = gemvColumns<Way>;
  const int64_t least = (columns - 1) * rowBytes + 2048;
  const int64_t wanted = least > gemvAheadBytes ? least : gemvAheadBytes;
  const int64_t distance = (shape->out - column) * rowBytes >= wanted ? wanted : 0;
  const char *rows[columns];
  v16f acc[columns];
  v4f low[columns]; // lane 1 counts: see blockHead
  FB_UNROLL for (int c = 0; c < columns; ++c) {
    const int64_t index = column + c < shape->out ? column + c : shape->out - 1;
    rows[c] = weight + index * rowBytes;
    acc[c] = splat(0.0f);
    low[c] = v4f(0.0f);
  }
  const auto body = [&]<bool Whole>(int64_t k) FB_INLINE_LAMBDA {
    prefetchAhead<Way>(rows[0], k / Way::step, distance);
    const typename Way::Input input = Way::template loadInput<Whole>(x, k, in);
    FB_UNROLL for (int c = 0; c < columns; ++c) {
      float scale = 0.0f;
      if constexpr (Way::scaled) {
        const v4f head = blockHead(Way::block(rows[c], k));
        scale = head[0];
        if constexpr (Way::minimum)
          low[c] = __builtin_elementwise_fma(head, v4f(xSums[k / blockElements]), low[c]);
      } else if constexpr (Way::minimum) {
        for (int64_t b = k; b < (Whole ? k + Way::step : in); b += blockElements)
          low[c] = __builtin_elementwise_fma(blockHead(Way::block(rows[c], b)), v4f(xSums[b / blockElements]),
                                             low[c]);
      }
      acc[c] = Way::accumulate(acc[c], input, Way::template loadWeight<Whole>(rows[c], k, in), scale);
    }
  };
  const int64_t whole = in / Way::step * Way::step;
  for (int64_t k = 0; k < whole; k += Way::step)
    body.template operator()<true>(k);
  if (whole < in)
    body.template operator()<false>(whole);
  FB_UNROLL for (int c = 0; c < columns; ++c) {
    sums[c] = acc[c];
    minima[c] = low[c][1];
  }
}

/// Columns [column, column + count) of in · Wᵀ + bias, in f32; the lanes after them say nothing.
template <typename Way>
FB_INLINE v16f gemvLanes(const LinearShape *shape, const VectorRow &row, const char *weight, const char *bias,
                         int64_t column, int64_t count) {
  v16f sums[lanes];
  float minima[lanes];
  if (count < lanes)
    FB_UNROLL for (int i = 0; i < lanes; ++i) {
      sums[i] = splat(0.0f);
      minima[i] = 0.0f;
    }
  _Pragma("clang loop unroll(disable)") for (int group = 0; group < count; group += gemvColumns<Way>)
      gemvGroup<Way>(shape, row.x, weight, row.xSums, column + group, sums + group, minima + group);
  v16f result = sumLanes16(sums);
  if constexpr (Way::minimum)
    result = result + load<v16f>(minima);
  if (shape->hasBias) {
    v16f added = splat(0.0f);
    for (int64_t i = 0; i < count; ++i)
      added[i] = loadBias(shape, bias, column + i);
    result = result + added;
  }
  return result;
}

/// The columns of one row that a task computes.
struct VectorTask {
  int64_t row, begin, end;
};
FB_INLINE VectorTask vectorTask(const LinearShape *shape, int64_t task) {
  const int64_t columnTasks = (shape->out + shape->colTile - 1) / shape->colTile;
  const int64_t begin = task % columnTasks * shape->colTile, end = begin + shape->colTile;
  return {task / columnTasks, begin, end < shape->out ? end : shape->out};
}

/// Task: columns [task·colTile, …) of the step's single row, 16 at a time.
template <typename Way>
void linearVector(const LinearShape *shape, void *const *args, const StepView *, void *scratch,
                  int64_t task) {
  const VectorTask part = vectorTask(shape, task);
  const int64_t inBytes = shape->inType == int64_t(DType::F32) ? 4 : 2;
  const int64_t outBytes = shape->outType == int64_t(DType::F32) ? 4 : 2;
  char *out = static_cast<char *>(args[0]) + part.row * shape->out * outBytes;
  const char *weight = static_cast<const char *>(args[2]);
  VectorRow row =
      vectorRow(static_cast<const char *>(args[1]) + part.row * shape->in * inBytes, scratch, part.row);
  if (row.isNew)
    prefetchFirst<Way>(shape, weight, part.begin);
  prepareRow<Way>(shape, row, scratch);
  for (int64_t column = part.begin; column < part.end; column += lanes) {
    const int64_t count = part.end - column < lanes ? part.end - column : lanes;
    storeOutput(shape, out, column, gemvLanes<Way>(shape, row, weight, biasOf(shape, args), column, count),
                count);
  }
}

} // namespace fusebox::cpu
