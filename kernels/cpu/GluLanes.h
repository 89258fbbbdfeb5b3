// A gated activation on lanes: the glu kernel's work, and of the product that ends in it.
#pragma once

#include "kernels/cpu/numerics/Convert.h"
#include "kernels/cpu/numerics/Math.h"

namespace fusebox::cpu {

template <int Activation> FB_INLINE v16f activate(v16f x) {
  if constexpr (Activation == 0)
    return silu(x);
  else if constexpr (Activation == 1)
    return gelu(x);
  else
    return geluTanh(x);
}

/// act(gate) · up, not yet rounded; act(gate) is rounded to T before the product if `roundActivation`.
template <DType T, int Activation> FB_INLINE v16f gluLanes(v16f gate, v16f up, bool roundActivation) {
  const v16f activated = activate<Activation>(gate);
  return (roundActivation ? roundTo<T>(activated) : activated) * up;
}

} // namespace fusebox::cpu
