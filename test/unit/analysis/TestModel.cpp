#include "test/unit/analysis/TestModel.h"

#include <cmath>
#include <cstring>

using namespace fusebox;
using namespace fusebox::test;

MatrixView TestModel::matrix(int64_t rows, int64_t columns, double scale) {
  std::normal_distribution<float> normal(0, float(scale / std::sqrt(double(columns))));
  std::vector<uint16_t> &values = storage.emplace_back(size_t(rows * columns));
  for (uint16_t &value : values)
    value = f32ToBf16(normal(random));
  MatrixView view;
  view.bytes = std::as_bytes(std::span(values));
  view.rows = rows;
  view.columns = columns;
  return view;
}

std::vector<double> TestModel::gains(int64_t count, double spread) {
  std::normal_distribution<double> normal(0, spread);
  std::vector<double> values;
  for (int64_t i = 0; i < count; ++i)
    values.push_back(bf16ToF32(f32ToBf16(float(std::exp(normal(random))))));
  return values;
}

double TestModel::at(const MatrixView &matrix, int64_t row, int64_t column) {
  uint16_t bits;
  std::memcpy(&bits, matrix.row(row).data() + 2 * column, 2);
  return bf16ToF32(bits);
}

void TestModel::set(const MatrixView &matrix, int64_t row, int64_t column, double value) {
  uint16_t bits = f32ToBf16(float(value));
  std::memcpy(const_cast<std::byte *>(matrix.row(row).data()) + 2 * column, &bits, 2);
}

LayerFacts TestModel::layer(const Shape &shape) {
  LayerFacts layer;
  int64_t q = shape.heads * shape.headDim, k = shape.kvHeads * shape.headDim;
  auto norm = [&](int64_t count) { return NormFacts{gains(count), 1e-6}; };
  if (shape.placement == NormPlacement::Pre) {
    layer.attnNorm = norm(shape.hidden);
    layer.mlpNorm = norm(shape.hidden);
  } else {
    layer.postAttnNorm = norm(shape.hidden);
    layer.postMlpNorm = norm(shape.hidden);
  }
  if (shape.qkNorm != QkNorm::None) {
    bool all = shape.qkNorm == QkNorm::AllHeads;
    layer.qNorm = norm(all ? q : shape.headDim);
    layer.kNorm = norm(all ? k : shape.headDim);
  }
  auto linear = [&](int64_t rows, int64_t columns) {
    LinearFacts facts{matrix(rows, columns), {}};
    if (shape.biases)
      facts.bias = gains(rows);
    return facts;
  };
  layer.q = linear(q, shape.hidden);
  layer.k = linear(k, shape.hidden);
  layer.v = linear(k, shape.hidden);
  layer.o = {matrix(shape.hidden, q), {}};
  layer.gate = {matrix(shape.intermediate, shape.hidden), {}};
  layer.up = {matrix(shape.intermediate, shape.hidden), {}};
  layer.down = {matrix(shape.hidden, shape.intermediate), {}};
  return layer;
}

TestModel::TestModel(const Shape &shape, unsigned seed) : random(seed) {
  facts.name = facts.architecture = "test";
  facts.hidden = shape.hidden;
  facts.heads = shape.heads;
  facts.kvHeads = shape.kvHeads;
  facts.headDim = facts.rotaryDim = shape.headDim;
  facts.intermediate = shape.intermediate;
  facts.vocab = shape.vocab;
  facts.qkNorm = shape.qkNorm;
  facts.placement = shape.placement;
  facts.scale = 1 / std::sqrt(double(shape.headDim));
  facts.embed = matrix(shape.vocab, shape.hidden);
  facts.lmHead = facts.embed;
  facts.tiedEmbeddings = true;
  facts.finalNorm = {gains(shape.hidden), 1e-6};
  for (int64_t i = 0; i < shape.layers; ++i)
    facts.layers.push_back(layer(shape));
}

std::vector<double> fusebox::test::gainsWith(int64_t size, double value, int64_t count) {
  std::vector<double> gains(size_t(size), 1.0);
  for (int64_t i = 0; i < count; ++i)
    gains[size_t(i)] = value;
  return gains;
}
