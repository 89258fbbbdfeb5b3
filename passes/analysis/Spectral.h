// Largest eigenvalues of small symmetric matrices, as bounds that hold: an estimate is never taken for a
// bound.
#pragma once

#include <cstdint>
#include <span>

namespace fusebox {

/// Largest eigenvalue of the symmetric 2x2 matrix [[a, b], [b, c]].
double largestEigenvalue(double a, double b, double c);

/// A number that is at least the largest eigenvalue of the symmetric n x n `matrix`, and at most a few
/// percent above it: Lanczos' method finds a candidate c, and elimination of c·I − matrix without a pivot ≤ 0
/// proves it (or c is raised). Infinite if an element is not finite. The matrix must be positive semidefinite
/// (a Gram matrix).
double largestEigenvalueBound(std::span<const double> matrix, int64_t n);

} // namespace fusebox
