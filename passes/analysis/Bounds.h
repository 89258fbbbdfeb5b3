// Arithmetic that all bounds share.
#pragma once

#include <cmath>
#include <vector>

namespace fusebox {

inline double square(double x) { return x * x; }

/// Raises a bound to `value` if that is larger; NaN, once there, stays: nothing is proved of it.
inline void raise(double &bound, double value) { bound = value > bound || std::isnan(value) ? value : bound; }

/// The largest of values that are not negative; NaN if one is.
inline double largestOf(const std::vector<double> &values) {
  double largest = 0;
  for (double value : values)
    raise(largest, value);
  return largest;
}

} // namespace fusebox
