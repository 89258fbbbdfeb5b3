// Causal attention: for each head, scores of a block of queries, their softmax as one row of weights a query,
// and the weights' product with the values. Eager and sdpa differ in the weights' rounding alone.
#include "ir/interpreter/MatMul.h"
#include "ir/interpreter/Ops.h"
#include "ir/interpreter/Parallel.h"

#include <cmath>
#include <limits>

using namespace fusebox;
using namespace fusebox::oracle;

namespace {

/// Queries that share one product with the keys, and sdpa's block of keys (docs/numerics.md).
constexpr int64_t queryBlock = 64, keyBlock = 64;

struct Shape {
  int64_t keyHeads, shared, head, valueHead, start; ///< start: the first query's position
  double scale, cap;                                ///< cap: 0 for none
  int64_t window;                                   ///< 0 for none

  Shape(layer::AttentionOp op, const Tensor &q, const Tensor &k, const Tensor &v)
      : keyHeads(op.getKvHeads()), shared(int64_t(op.getHeads()) / keyHeads), head(k.columns / keyHeads),
        valueHead(v.columns / keyHeads), start(k.rows - q.rows), scale(op.getScale().convertToDouble()),
        cap(op.getSoftcap() ? op.getSoftcap()->convertToDouble() : 0), window(op.getWindow().value_or(0)) {}

  int64_t firstVisible(int64_t position) const {
    return window ? std::max<int64_t>(0, position - window + 1) : 0;
  }
};

/// q·k becomes the softmax's argument; eager rounds after each step.
template <typename Real> void scaleScores(const Shape &shape, std::span<double> scores, Rounding r) {
  for (double &score : scores) {
    score = roundTo(r, Real(roundTo(r, score)) * Real(shape.scale));
    if (shape.cap)
      score = roundTo(r, Real(shape.cap) * std::tanh(Real(score) / Real(shape.cap)));
  }
}

/// The softmax, rounded.
template <typename Real> void eagerWeights(std::span<double> scores, Rounding r) {
  Real largest = Real(*std::ranges::max_element(scores));
  double sum = 0;
  for (double &score : scores)
    sum += score = std::exp(Real(score) - largest);
  for (double &score : scores)
    score = roundTo(r, Real(score) / Real(sum));
}

/// Blocks of 64 absolute positions: exp(s − running maximum) is rounded before it meets V; later maxima, and
/// the sum of the unrounded values, scale what it has given. `first` is the first score's position.
template <typename Real> void sdpaWeights(std::span<double> scores, int64_t first, Rounding r) {
  struct Block {
    size_t begin, end;
    double largest;
  };
  std::vector<Block> blocks;
  double largest = -std::numeric_limits<double>::infinity(), sum = 0;
  for (size_t i = 0; i < scores.size();) {
    size_t end =
        std::min(scores.size(), size_t((first + int64_t(i)) / keyBlock * keyBlock + keyBlock - first));
    largest = std::max(largest, *std::max_element(scores.begin() + i, scores.begin() + end));
    blocks.push_back({i, end, largest});
    i = end;
  }
  for (const Block &block : blocks) {
    double correction = std::exp(block.largest - largest);
    for (size_t i = block.begin; i < block.end; ++i) {
      Real weight = std::exp(Real(scores[i]) - Real(block.largest));
      sum += double(weight) * correction;
      scores[i] = roundTo(r, weight) * correction;
    }
  }
  for (double &score : scores)
    score /= sum;
}

/// Scores of the keys that one query sees become their weights. `first` is the first key's position.
template <typename Real>
void softmax(const Shape &shape, layer::AttentionRounding rounding, std::span<double> scores, int64_t first,
             Rounding r) {
  if (rounding == layer::AttentionRounding::Eager) {
    scaleScores<Real>(shape, scores, r);
    eagerWeights<Real>(scores, r);
  } else {
    scaleScores<Real>(shape, scores, Rounding::None);
    sdpaWeights<Real>(scores, first, r);
  }
}

/// The values of one key head, a row a column of the head, so that the second product is like the first.
Tensor transposedValues(const Shape &shape, const Tensor &v, int64_t keyHead) {
  Tensor out(shape.valueHead, v.rows);
  for (int64_t position = 0; position < v.rows; ++position)
    for (int64_t c = 0; c < shape.valueHead; ++c)
      out.row(c)[position] = v.row(position)[keyHead * shape.valueHead + c];
  return out;
}

} // namespace

Tensor oracle::attention(layer::AttentionOp op, const Tensor &q, const Tensor &k, const Tensor &v,
                         Rounding r) {
  Shape shape(op, q, k, v);
  std::vector<Tensor> values;
  for (int64_t keyHead = 0; keyHead < shape.keyHeads; ++keyHead)
    values.push_back(transposedValues(shape, v, keyHead));
  int64_t heads = shape.keyHeads * shape.shared, blocks = (q.rows + queryBlock - 1) / queryBlock;
  Tensor out(q.rows, heads * shape.valueHead);
  parallelFor(heads * blocks, [&](int64_t task) {
    int64_t h = task % heads, firstRow = task / heads * queryBlock, keyHead = h / shape.shared;
    int64_t rows = std::min(queryBlock, q.rows - firstRow), keys = shape.start + firstRow + rows;
    Tensor weights(rows, keys);
    multiplyTransposed({q.row(firstRow).data() + h * shape.head, rows, shape.head, q.columns},
                       {k.row(0).data() + keyHead * shape.head, keys, shape.head, k.columns},
                       weights.values.data(), keys);
    for (int64_t i = 0; i < rows; ++i) {
      int64_t position = shape.start + firstRow + i, visible = shape.firstVisible(position);
      std::span<double> row = weights.row(i),
                        seen = row.subspan(size_t(visible), size_t(position + 1 - visible));
      if (r == Rounding::None)
        softmax<double>(shape, op.getRounding(), seen, visible, r);
      else
        softmax<float>(shape, op.getRounding(), seen, visible, r);
      std::fill(row.begin(), row.begin() + visible, 0.0);
      std::fill(row.begin() + position + 1, row.end(), 0.0);
    }
    const Tensor &v = values[size_t(keyHead)];
    multiplyTransposed({weights.values.data(), rows, keys, keys}, {v.values.data(), v.rows, keys, v.columns},
                       out.row(firstRow).data() + h * shape.valueHead, out.columns);
  });
  return cast(out, r);
}
