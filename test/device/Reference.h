// Reference arithmetic of the device suite: f64 with the rounding points of the contract, and comparison.
#pragma once

#include "support/Float.h"
#include "test/device/Case.h"

#include <cmath>
#include <cstdio>
#include <random>

namespace fusebox::gputest {

inline double bf16Value(uint16_t bits) { return bf16ToF32(bits); }
inline double roundedBf16(double value) { return bf16ToF32(f64ToBf16(value)); }

/// Normal bf16 values.
inline std::vector<uint16_t> randomBf16(size_t count, unsigned seed, double deviation = 1, double mean = 0) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> normal(mean, deviation);
  std::vector<uint16_t> values(count);
  for (uint16_t &v : values)
    v = f64ToBf16(normal(engine));
  return values;
}

/// Compares a bf16 result with the correctly rounded reference: the f32 sums inside may move a value across
/// one rounding border, by one unit in the last place (2^-7 of the value), and near cancellation by
/// `absolute`.
struct Comparison {
  size_t count = 0, different = 0, wrong = 0;
  double worst = 0;
  void add(double got, double want, double absolute) {
    ++count;
    double distance = std::abs(got - want), rounded = roundedBf16(want);
    different += got != rounded;
    worst = std::max(worst, distance / std::max(std::abs(want), 1e-30));
    if (!(distance <= std::abs(want) * 0x1p-7 + absolute))
      ++wrong;
  }
  Outcome outcome(const std::string &extra = "") const {
    char text[160];
    std::snprintf(text, sizeof text, "%zu values, %.3f%% off by a rounding, %zu wrong%s%s", count,
                  100.0 * double(different) / double(std::max<size_t>(count, 1)), wrong,
                  extra.empty() ? "" : "; ", extra.c_str());
    return {wrong == 0, text};
  }
};

/// Where a column of a key or value lies in its row of the cache (kernels/cuda/kv_cache.cuh).
inline size_t cachedColumn(int headDim, int key, int column) {
  return size_t(headDim % 64 == 0 ? column ^ key % 8 * 8 : column);
}

/// RMS norm of one row as HF computes it: rounded before the gain if `roundNormalised`, then once more.
inline std::vector<double> referenceNorm(const double *x, const uint16_t *gain, int columns, double eps,
                                         bool roundNormalised, bool onePlus) {
  double sum = 0;
  for (int i = 0; i < columns; ++i)
    sum += x[i] * x[i];
  double factor = 1 / std::sqrt(sum / columns + eps);
  std::vector<double> y(static_cast<size_t>(columns));
  for (int i = 0; i < columns; ++i) {
    double v = x[i] * factor;
    if (roundNormalised)
      v = roundedBf16(v);
    y[size_t(i)] = roundedBf16(v * (bf16Value(gain[i]) + (onePlus ? 1 : 0)));
  }
  return y;
}

inline double silu(double v) { return v / (1 + std::exp(-v)); }

} // namespace fusebox::gputest
