#include "passes/analysis/Activations.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

using namespace fusebox;

namespace {

const double rootOfTwoPi = std::sqrt(2 * std::numbers::pi), rootOfTwoOverPi = std::sqrt(2 / std::numbers::pi);

double tanhArgument(double x) { return rootOfTwoOverPi * (x + 0.044715 * x * x * x); }

double value(Activation activation, double x) {
  switch (activation) {
  case Activation::Silu:
    return x / (1 + std::exp(-x));
  case Activation::Gelu:
    return x * 0.5 * std::erfc(-x / std::numbers::sqrt2);
  case Activation::GeluTanh:
    return x * 0.5 * (1 + std::tanh(tanhArgument(x)));
  }
  return x;
}

double slope(Activation activation, double x) {
  switch (activation) {
  case Activation::Silu: {
    double s = 1 / (1 + std::exp(-x));
    return s * (1 + x * (1 - s));
  }
  case Activation::Gelu:
    return 0.5 * std::erfc(-x / std::numbers::sqrt2) + x * std::exp(-x * x / 2) / rootOfTwoPi;
  case Activation::GeluTanh: {
    double t = std::tanh(tanhArgument(x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * rootOfTwoOverPi * (1 + 3 * 0.044715 * x * x);
  }
  }
  return 1;
}

/// Root of E f(x)² over sigma, at sigma = 2^(step / perOctave − octaves): constant beyond, where the
/// activation is linear or a ramp.
struct RmsTable {
  static constexpr int perOctave = 4, octaves = 6, size = 2 * octaves * perOctave + 1;
  std::array<double, size> ratio;

  explicit RmsTable(Activation activation) {
    for (int i = 0; i < size; ++i) {
      double sigma = std::exp2(double(i) / perOctave - octaves);
      ratio[size_t(i)] = std::sqrt(activationMoments(activation, sigma).value) / sigma;
    }
  }
  double at(double sigma) const {
    double position = std::clamp((std::log2(sigma) + octaves) * perOctave, 0.0, double(size - 1));
    int i = std::min(int(position), size - 2);
    return std::lerp(ratio[size_t(i)], ratio[size_t(i + 1)], position - i);
  }
};

} // namespace

double fusebox::steepestSlope(Activation activation) {
  return activation == Activation::Silu ? 1.0999 : 1.13;
}

ActivationMoments fusebox::activationMoments(Activation activation, double sigma) {
  // The trapezoidal rule converges fast for a Gaussian weight; steps follow the activation's own width of
  // about 1.
  double step = std::min(0.1, 0.25 / sigma), limit = 8;
  int64_t steps = int64_t(std::min(limit / step, 4000.0));
  step = limit / double(steps);
  ActivationMoments moments = {0, 0, 0};
  for (int64_t i = -steps; i <= steps; ++i) {
    double z = double(i) * step, x = sigma * z;
    double weight = step * std::exp(-z * z / 2) / rootOfTwoPi;
    double f = value(activation, x), g = slope(activation, x);
    moments.value += weight * f * f;
    moments.slope += weight * g * g;
    moments.weightedSlope += weight * x * x * g * g;
  }
  return moments;
}

double fusebox::activationRms(Activation activation, double sigma) {
  if (!(sigma > 0) || !std::isfinite(sigma))
    return sigma;
  switch (activation) {
  case Activation::Silu: {
    static const RmsTable table(Activation::Silu);
    return sigma * table.at(sigma);
  }
  case Activation::Gelu: {
    static const RmsTable table(Activation::Gelu);
    return sigma * table.at(sigma);
  }
  case Activation::GeluTanh: {
    static const RmsTable table(Activation::GeluTanh);
    return sigma * table.at(sigma);
  }
  }
  return sigma;
}
