// Attention of consecutive tokens of one sequence over its KV pages: what the attention kernels share.
#pragma once

#include "kernels/cpu/Attention.h"
#include "kernels/cpu/KvPage.h"
#include "kernels/cpu/numerics/Math.h"

namespace fusebox::cpu {

inline constexpr int blockVectors = kvPageTokens / lanes;

/// How q·k and p·v multiply 32-bit words: pairs of bf16, or one f32.
template <DType T> struct Words {
  static constexpr int elements = T == DType::BF16 ? 2 : 1;
#if defined(__AVX512BF16__)
  static constexpr int rows = 6;
#elif defined(__AVX512F__)
  static constexpr int rows = T == DType::BF16 ? 4 : 6;
#else
  static constexpr int rows = 1;
#endif
  FB_INLINE v16f accumulate(v16f acc, uint32_t one, v16u many) {
    if constexpr (T == DType::BF16)
      return dot(acc, pairsFromBits(v16u(one)), pairsFromBits(many));
    else
      return fma(asFloat(v16u(one)), asFloat(many), acc);
  }
};

/// A task's scratch, rows being (token, head of the group).
struct Scratch {
  float *scores;  ///< [row][64]
  uint32_t *p;    ///< [row][64], rounded to the type and packed into words
  float *sums;    ///< [row][paddedDim], Σ p·v
  float *maximum; ///< [row]
  float *total;   ///< [row], Σ p
};

FB_INLINE int64_t paddedDim(int64_t headDim) { return (headDim + lanes - 1) / lanes * lanes; }

/// As KernelTable's cutAttention has it.
FB_INLINE Scratch scratchIn(const AttentionShape *shape, void *memory) {
  const int64_t maxRows = shape->rowTile * (shape->heads / shape->kvHeads);
  Scratch scratch;
  scratch.scores = static_cast<float *>(memory);
  scratch.p = reinterpret_cast<uint32_t *>(scratch.scores + maxRows * kvPageTokens);
  scratch.sums = reinterpret_cast<float *>(scratch.p + maxRows * kvPageTokens);
  scratch.maximum = scratch.sums + maxRows * paddedDim(shape->headDim);
  scratch.total = scratch.maximum + maxRows;
  return scratch;
}

/// What a segment of one sequence's consecutive tokens shares.
template <DType T> struct Segment {
  const AttentionShape *shape;
  Scratch scratch;
  const char *q;           ///< of the first row
  int64_t qStride;         ///< bytes from a token's row to the next token's
  int64_t group;           ///< query heads of a kv head
  const int32_t *position; ///< of the first token

  FB_MEMBER const char *query(int64_t row) const {
    return q + row / group * qStride + row % group * shape->headDim * bytesOf<T>;
  }
  FB_MEMBER int64_t positionOf(int64_t row) const { return position[row / group]; }
};

/// Scores of `Rows` rows with a block's 64 keys.
template <DType T, int Rows>
FB_INLINE void scoreRows(const Segment<T> &segment, const char *keys, int64_t row) {
  const int64_t words = segment.shape->headDim / Words<T>::elements;
  const char *query[Rows];
  v16f acc[Rows][blockVectors];
  FB_UNROLL for (int r = 0; r < Rows; ++r) {
    query[r] = segment.query(row + r);
    FB_UNROLL for (int v = 0; v < blockVectors; ++v) acc[r][v] = splat(0.0f);
  }
  _Pragma("clang loop unroll(disable)") for (int64_t w = 0; w < words; ++w) {
    v16u k[blockVectors];
    FB_UNROLL for (int v = 0; v < blockVectors; ++v) k[v] =
        load<v16u>(keys + (w * kvPageTokens + v * lanes) * 4);
    FB_UNROLL for (int r = 0; r < Rows; ++r) {
      const uint32_t one = load<uint32_t>(query[r] + w * 4);
      FB_UNROLL for (int v = 0; v < blockVectors; ++v) acc[r][v] = Words<T>::accumulate(acc[r][v], one, k[v]);
    }
  }
  FB_UNROLL for (int r = 0; r < Rows; ++r) FB_UNROLL for (int v = 0; v < blockVectors; ++v)
      store(segment.scratch.scores + (row + r) * kvPageTokens + v * lanes, acc[r][v]);
}

/// Turns a row's scores into p and rescales what came before. Keys [first, last) of the block are visible.
template <DType T>
FB_INLINE void softmaxRow(const Segment<T> &segment, int64_t row, int64_t first, int64_t last) {
  const AttentionShape *shape = segment.shape;
  const v16i index = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const v16f hidden = splat(-__builtin_inff());
  v16f s[blockVectors];
  FB_UNROLL for (int v = 0; v < blockVectors; ++v) {
    s[v] = load<v16f>(segment.scratch.scores + row * kvPageTokens + v * lanes) * float(shape->scale);
    if (shape->softcap != 0.0)
      s[v] = tanhLanes(s[v] / float(shape->softcap)) * float(shape->softcap);
    const v16i key = index + int32_t(v * lanes);
    s[v] = select((key >= int32_t(first)) & (key < int32_t(last)), s[v], hidden);
  }
  const float before = segment.scratch.maximum[row];
  const float largest = maxLanes(__builtin_elementwise_max(__builtin_elementwise_max(s[0], s[1]),
                                                           __builtin_elementwise_max(s[2], s[3])));
  const float maximum = __builtin_elementwise_max(before, largest);
  FB_UNROLL for (int v = 0; v < blockVectors; ++v) {
    s[v] = expNegative(s[v] - maximum);
    if constexpr (T == DType::BF16)
      store(reinterpret_cast<uint16_t *>(segment.scratch.p + row * kvPageTokens) + v * lanes, toBf16(s[v]));
    else
      store(segment.scratch.p + row * kvPageTokens + v * lanes, s[v]);
  }
  const float sum = sumLanes((s[0] + s[1]) + (s[2] + s[3]));
  const float rescale = expNegative(splat(before - maximum))[0];
  segment.scratch.total[row] = segment.scratch.total[row] * rescale + sum;
  segment.scratch.maximum[row] = maximum;
  const int64_t padded = paddedDim(shape->headDim);
  float *sums = segment.scratch.sums + row * padded;
  for (int64_t d = 0; d < padded; d += lanes)
    store(sums + d, load<v16f>(sums + d) * rescale);
}

/// Adds p · v over value words [begin, end) to `Vectors` × 16 dims from `dim` of `Rows` rows; then, if
/// `half`, over the first half of word `end`: a pair's odd last key, whose partner slot holds what a former
/// owner left.
template <DType T, int Rows, int Vectors>
FB_INLINE void valueTile(const Segment<T> &segment, const char *values, int64_t row, int64_t dim,
                         int64_t begin, int64_t end, bool half) {
  const int64_t headDim = segment.shape->headDim, padded = paddedDim(headDim);
  float *sums = segment.scratch.sums + row * padded + dim;
  const uint32_t *p = segment.scratch.p + row * kvPageTokens;
  v16f acc[Rows][Vectors];
  FB_UNROLL for (int r = 0; r < Rows; ++r) FB_UNROLL for (int v = 0; v < Vectors; ++v) acc[r][v] =
      load<v16f>(sums + r * padded + v * lanes);
  const auto add = [&](int64_t w, uint32_t mask) FB_INLINE_LAMBDA {
    const char *from = values + (w * headDim + dim) * 4;
    v16u value[Vectors];
    FB_UNROLL for (int v = 0; v < Vectors; ++v) {
      if (headDim % lanes == 0 || dim + (v + 1) * lanes <= headDim)
        value[v] = load<v16u>(from + v * 64);
      else
        value[v] = asBits(loadSome<DType::F32>(from + v * 64, headDim - dim - v * lanes));
      value[v] = value[v] & mask;
    }
    FB_UNROLL for (int r = 0; r < Rows; ++r) FB_UNROLL for (int v = 0; v < Vectors; ++v) acc[r][v] =
        Words<T>::accumulate(acc[r][v], p[r * kvPageTokens + w], value[v]);
  };
  _Pragma("clang loop unroll(disable)") for (int64_t w = begin; w < end; ++w) add(w, 0xffffffffu);
  if (half)
    add(end, 0x0000ffffu);
  FB_UNROLL for (int r = 0; r < Rows; ++r) FB_UNROLL for (int v = 0; v < Vectors; ++v)
      store(sums + r * padded + v * lanes, acc[r][v]);
}

template <DType T, int Rows>
FB_INLINE void valueRows(const Segment<T> &segment, const char *values, int64_t row, int64_t begin,
                         int64_t end, bool half) {
  const int64_t padded = paddedDim(segment.shape->headDim);
  int64_t dim = 0;
  _Pragma("clang loop unroll(disable)") for (; dim + blockVectors * lanes <= padded;
                                             dim += blockVectors * lanes)
      valueTile<T, Rows, blockVectors>(segment, values, row, dim, begin, end, half);
  _Pragma("clang loop unroll(disable)") for (; dim < padded; dim += lanes)
      valueTile<T, Rows, 1>(segment, values, row, dim, begin, end, half);
}

/// Keys [first, last) of the block at `blockStart` that a row sees.
struct Visible {
  int64_t first, last;
};
template <DType T> FB_INLINE Visible visible(const Segment<T> &segment, int64_t row, int64_t blockStart) {
  const int64_t position = segment.positionOf(row), window = segment.shape->window;
  const int64_t last = position - blockStart + 1, first = position - window + 1 - blockStart;
  return {window > 0 && first > 0 ? first : 0, last < kvPageTokens ? last : kvPageTokens};
}

/// Rows [row, row + count), count being Words<T>::rows, 2 or 1, with the keys of the block at `blockStart`. A
/// tile takes the keys that all its rows see, what is left goes row by row; a row's order of additions is the
/// same either way.
template <DType T>
FB_INLINE void attendRows(const Segment<T> &segment, const char *keys, const char *values, int64_t row,
                          int64_t count, int64_t blockStart) {
  constexpr int most = Words<T>::rows, elements = Words<T>::elements;
  const bool many = most > 2 && count == most, two = most > 2 && count == 2;
  if (many)
    scoreRows<T, most>(segment, keys, row);
  else if (two)
    scoreRows<T, 2>(segment, keys, row);
  else
    scoreRows<T, 1>(segment, keys, row);
  int64_t common = kvPageTokens;
  _Pragma("clang loop unroll(disable)") for (int64_t r = row; r < row + count; ++r) {
    const Visible seen = visible(segment, r, blockStart);
    softmaxRow<T>(segment, r, seen.first, seen.last);
    common = seen.last < common ? seen.last : common;
  }
  const int64_t commonWords = many || two ? common / elements : 0;
  if (many)
    valueRows<T, most>(segment, values, row, 0, commonWords, false);
  else if (two)
    valueRows<T, 2>(segment, values, row, 0, commonWords, false);
  _Pragma("clang loop unroll(disable)") for (int64_t r = row; r < row + count; ++r) {
    const int64_t last = visible(segment, r, blockStart).last;
    if (last > commonWords * elements)
      valueRows<T, 1>(segment, values, r, commonWords, last / elements, elements == 2 && last % 2 != 0);
  }
}

/// Attention of a segment's rows: tokens [token, token + tokens) of the step, which are one sequence's, with
/// the query heads of one kv head. out: [N][heads][headDim]; pool: the layer's pages.
template <DType T>
FB_INLINE void attendSegment(const Segment<T> &segment, void *out, void *pool, const StepView *step,
                             int64_t token, int64_t tokens, int64_t kvHead) {
  const AttentionShape *shape = segment.shape;
  const int64_t headDim = shape->headDim, rows = tokens * segment.group, padded = paddedDim(headDim);
  for (int64_t row = 0; row < rows; ++row) {
    segment.scratch.maximum[row] = -__builtin_inff();
    segment.scratch.total[row] = 0.0f;
    for (int64_t d = 0; d < padded; d += lanes)
      store(segment.scratch.sums + row * padded + d, splat(0.0f));
  }
  const auto firstBlock = [&](int64_t row) FB_INLINE_LAMBDA -> int64_t {
    const int64_t first = segment.positionOf(row) - shape->window + 1;
    return shape->window > 0 && first > 0 ? first / kvPageTokens : 0;
  };
  const int64_t lastBlock = segment.positionOf(rows - 1) / kvPageTokens;
  for (int64_t block = firstBlock(0); block <= lastBlock; ++block) {
    const char *page =
        pageOf<T>(pool, step, step->tokenSequence[token], block, pageElements(shape->kvHeads, headDim));
    const char *keys = page + keyIndex<T>(headDim, kvHead, 0, 0) * bytesOf<T>;
    const char *values = page + valueIndex<T>(shape->kvHeads, headDim, kvHead, 0, 0) * bytesOf<T>;
    // Positions ascend, so the rows that see this block are consecutive.
    int64_t row = 0, end = rows;
    while (segment.positionOf(row) < block * kvPageTokens)
      row += segment.group;
    while (end > row && firstBlock(end - 1) > block)
      end -= segment.group;
    _Pragma("clang loop unroll(disable)") while (row < end) {
      constexpr int64_t most = Words<T>::rows;
      const int64_t count = end - row >= most ? most : most > 2 && end - row >= 2 ? 2 : 1;
      attendRows<T>(segment, keys, values, row, count, block * kvPageTokens);
      row += count;
    }
  }
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t head = kvHead * segment.group + row % segment.group;
    char *to = at<T>(out, ((token + row / segment.group) * shape->heads + head) * headDim);
    forLanes(headDim, [&](int64_t d, int64_t count) FB_INLINE_LAMBDA {
      storeUpTo<T>(to + d * bytesOf<T>,
                   load<v16f>(segment.scratch.sums + row * padded + d) / segment.scratch.total[row], count);
    });
  }
}

} // namespace fusebox::cpu
