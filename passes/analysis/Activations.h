// The activation functions of gated MLPs as the analysis sees them: slopes, and moments over normal inputs.
#pragma once

#include "frontends/ModelSpec.h"

namespace fusebox {

/// Largest |f'|: a deviation grows by at most this.
double steepestSlope(Activation activation);

/// Means over x = sigma · z, z standard normal.
struct ActivationMoments {
  double value;         ///< E f(x)²
  double slope;         ///< E f'(x)²
  double weightedSlope; ///< E (x f'(x))²
};
ActivationMoments activationMoments(Activation activation, double sigma);

/// Root of E f(x)², by interpolation in a table: for many sigmas.
double activationRms(Activation activation, double sigma);

} // namespace fusebox
