#include "ir/interpreter/Ops.h"

#include "ir/interpreter/MatMul.h"
#include "ir/interpreter/Parallel.h"

#include <cmath>
#include <numbers>

using namespace fusebox;
using namespace fusebox::oracle;

/// Columns of a product that one task computes: its rows of W, widened to f64, stay in the cache.
static constexpr int64_t linearBlock = 128;

/// f of every pair of values, in f32 if results are rounded and else in f64.
template <typename F> static Tensor map(Rounding r, const Tensor &a, const Tensor &b, F f) {
  Tensor out(a.rows, a.columns);
  for (size_t i = 0; i < out.values.size(); ++i)
    out.values[i] =
        r == Rounding::None ? f(a.values[i], b.values[i]) : f(float(a.values[i]), float(b.values[i]));
  return out;
}

/// A vector parameter, whole.
static std::vector<double> vectorOf(mlir::Operation *op, llvm::StringRef symbol, const WeightRows &weights,
                                    int64_t layer, int64_t size) {
  std::vector<double> values(static_cast<size_t>(size));
  weights(layer::lookupParam(op, symbol), layer, 0, values);
  return values;
}

Tensor oracle::embed(layer::EmbedOp op, const Tensor &tokens, const WeightRows &weights, int64_t layer,
                     Rounding r) {
  layer::ParamOp table = layer::lookupParam(op, op.getTable());
  Tensor out(tokens.rows, layer::columns(op.getResult()));
  for (int64_t i = 0; i < out.rows; ++i)
    weights(table, layer, int64_t(tokens.values[size_t(i)]), out.row(i));
  return cast(out, r);
}

Tensor oracle::selectRows(const Tensor &input, const Tensor &rows) {
  Tensor out(rows.rows, input.columns);
  for (int64_t i = 0; i < out.rows; ++i)
    std::ranges::copy(input.row(int64_t(rows.values[size_t(i)])), out.row(i).begin());
  return out;
}

static double sumOfSquares(std::span<const double> values, double) {
  double sum = 0;
  for (double value : values)
    sum += value * value;
  return sum;
}

/// In the order of the reference, PyTorch's reduction on a CPU with 8 lanes: value i goes to chain i mod 32,
/// chains are begun anew every 512 values; then the four chains of each lane are added, then the lanes.
static float sumOfSquares(std::span<const double> values, float) {
  constexpr size_t lanes = 8, chains = 32, block = 512;
  float totals[chains] = {};
  for (size_t start = 0; start < values.size(); start += block) {
    float sums[chains] = {};
    for (size_t i = start; i < std::min(start + block, values.size()); ++i)
      sums[i % chains] += float(values[i]) * float(values[i]);
    for (size_t chain = 0; chain < chains; ++chain)
      totals[chain] += sums[chain];
  }
  float sum = 0;
  for (size_t lane = 0; lane < lanes; ++lane)
    sum += totals[lane] + totals[lane + lanes] + totals[lane + 2 * lanes] + totals[lane + 3 * lanes];
  return sum;
}

template <typename Real>
static Tensor normIn(layer::NormOp op, const Tensor &input, std::span<const double> gain, Rounding r) {
  size_t size = gain.size();
  Rounding inner = op.getRounding() == layer::NormRounding::NormalisedAndScaled ? r : Rounding::None;
  Real one = op.getOnePlus() ? 1 : 0, eps = Real(op.getEps().convertToDouble());
  Tensor out(input.rows, input.columns);
  for (size_t start = 0; start < out.values.size(); start += size) {
    Real squares = sumOfSquares(std::span(input.values).subspan(start, size), Real());
    Real factor = 1 / std::sqrt(squares / Real(size) + eps);
    for (size_t i = 0; i < size; ++i) {
      Real normalised = Real(roundTo(inner, Real(input.values[start + i]) * factor));
      out.values[start + i] = roundTo(r, (Real(gain[i]) + one) * normalised);
    }
  }
  return out;
}

Tensor oracle::norm(layer::NormOp op, const Tensor &input, const WeightRows &weights, int64_t layer,
                    Rounding r) {
  int64_t size = input.columns / int64_t(op.getGroups());
  std::vector<double> gain = vectorOf(op, op.getGain(), weights, layer, size);
  return r == Rounding::None ? normIn<double>(op, input, gain, r) : normIn<float>(op, input, gain, r);
}

Tensor oracle::linear(layer::LinearOp op, const Tensor &input, const WeightRows &weights, int64_t layer,
                      Rounding r) {
  layer::ParamOp weight = layer::lookupParam(op, op.getWeight());
  int64_t in = input.columns, out = layer::columns(op.getResult());
  std::vector<double> bias(static_cast<size_t>(out));
  if (op.getBias())
    bias = vectorOf(op, *op.getBias(), weights, layer, out);
  Tensor result(input.rows, out);
  MatrixView x{input.values.data(), input.rows, in, in};
  parallelFor((out + linearBlock - 1) / linearBlock, [&](int64_t task) {
    int64_t first = task * linearBlock, count = std::min(linearBlock, out - first);
    std::vector<double> block(size_t(count * in));
    weights(weight, layer, first, block);
    multiplyTransposed(x, {block.data(), count, in, in}, result.values.data() + first, out);
    for (int64_t i = 0; i < input.rows; ++i)
      for (int64_t j = first; j < first + count; ++j)
        result.row(i)[j] = roundTo(r, result.row(i)[j] + bias[size_t(j)]);
  });
  return result;
}

Tensor oracle::ropeAngles(layer::RopeAnglesOp op, const Tensor &positions, Rounding r) {
  llvm::ArrayRef<float> frequencies = op.getInvFreq();
  int64_t half = int64_t(frequencies.size());
  double factor = op.getAttentionFactor().convertToDouble();
  Rounding first = r == Rounding::None ? r : Rounding::F32;
  Tensor out(positions.rows, 2 * half);
  for (int64_t i = 0; i < out.rows; ++i)
    for (int64_t j = 0; j < half; ++j) {
      double angle = float(positions.values[size_t(i)]) * frequencies[size_t(j)];
      out.row(i)[j] = roundTo(r, roundTo(first, std::cos(angle)) * factor);
      out.row(i)[half + j] = roundTo(r, roundTo(first, std::sin(angle)) * factor);
    }
  return out;
}

template <typename Real>
static Tensor ropeIn(layer::RopeOp op, const Tensor &input, const Tensor &angles, Rounding r) {
  int64_t head = input.columns / int64_t(op.getHeads()), half = angles.columns / 2;
  bool interleaved = op.getPairs() == layer::RopePairs::Interleaved;
  Rounding inner = op.getRounding() == layer::RopeRounding::ProductsAndSum ? r : Rounding::None;
  auto turn = [=](Real a, Real cosine, Real b, Real sine) {
    return roundTo(r, Real(roundTo(inner, a * cosine)) + Real(roundTo(inner, b * sine)));
  };
  Tensor out = input;
  for (int64_t i = 0; i < input.rows; ++i)
    for (int64_t start = 0; start < input.columns; start += head)
      for (int64_t j = 0; j < half; ++j) {
        int64_t first = start + (interleaved ? 2 * j : j), second = first + (interleaved ? 1 : half);
        Real a = Real(input.row(i)[first]), b = Real(input.row(i)[second]);
        Real cosine = Real(angles.row(i)[j]), sine = Real(angles.row(i)[half + j]);
        out.row(i)[first] = turn(a, cosine, -b, sine);
        out.row(i)[second] = turn(b, cosine, a, sine);
      }
  return out;
}

Tensor oracle::rope(layer::RopeOp op, const Tensor &input, const Tensor &angles, Rounding r) {
  return r == Rounding::None ? ropeIn<double>(op, input, angles, r) : ropeIn<float>(op, input, angles, r);
}

template <typename Real> static Real activate(layer::Activation activation, Real x) {
  switch (activation) {
  case layer::Activation::Silu:
    return x / (1 + std::exp(-x));
  case layer::Activation::Gelu:
    return Real(0.5) * x * (1 + std::erf(x / std::numbers::sqrt2_v<Real>));
  case layer::Activation::GeluTanh: {
    Real slope = std::sqrt(2 / std::numbers::pi_v<Real>);
    return Real(0.5) * x * (1 + std::tanh(slope * (x + Real(0.044715) * x * x * x)));
  }
  }
  return x;
}

Tensor oracle::glu(layer::GluOp op, const Tensor &gate, const Tensor &up, Rounding r) {
  Rounding inner = op.getRounding() == layer::GluRounding::ActivationAndProduct ? r : Rounding::None;
  return map(r, gate, up, [&](auto g, auto u) {
    return roundTo(r, decltype(g)(roundTo(inner, activate(op.getActivation(), g))) * u);
  });
}

Tensor oracle::add(const Tensor &lhs, const Tensor &rhs, Rounding r) {
  return map(r, lhs, rhs, [=](auto a, auto b) { return roundTo(r, a + b); });
}

Tensor oracle::scale(const Tensor &input, double factor, Rounding r) {
  return map(r, input, input, [=](auto x, auto) { return roundTo(r, x * decltype(x)(factor)); });
}

Tensor oracle::softcap(const Tensor &input, double cap, Rounding r) {
  return map(r, input, input, [=](auto x, auto) {
    auto limit = decltype(x)(cap);
    return roundTo(r, limit * std::tanh(x / limit));
  });
}

Tensor oracle::cast(const Tensor &input, Rounding r) {
  Tensor out = input;
  for (double &value : out.values)
    value = roundTo(r, value);
  return out;
}
