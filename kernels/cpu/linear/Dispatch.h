// From a shape's types to the way that multiplies them.
#pragma once

#include "kernels/cpu/linear/Operands.h"

namespace fusebox::cpu {

template <DType W, typename Body> FB_INLINE void withWayOf(const LinearShape *shape, Body body) {
  if (shape->inType == int64_t(DType::F32))
    body.template operator()<F32Way<DType::F32, W>, DType::F32>();
  else if constexpr (W == DType::F32 || W == DType::F16)
    body.template operator()<F32Way<DType::BF16, W>, DType::BF16>();
  else if constexpr (W == DType::BF16)
    body.template operator()<PairsWay, DType::BF16>();
  else
    body.template operator()<BlockWay<W>, DType::BF16>();
}

/// Calls body.template operator()<Way, In>() for the shape's types of weight and activation.
template <typename Body> FB_INLINE void withWay(const LinearShape *shape, Body body) {
  switch (DType(shape->weightType)) {
  case DType::F32:
    return withWayOf<DType::F32>(shape, body);
  case DType::F16:
    return withWayOf<DType::F16>(shape, body);
  case DType::Q8_0:
    return withWayOf<DType::Q8_0>(shape, body);
  case DType::Q4_0:
    return withWayOf<DType::Q4_0>(shape, body);
  case DType::Q4_1:
    return withWayOf<DType::Q4_1>(shape, body);
  default:
    return withWayOf<DType::BF16>(shape, body);
  }
}

} // namespace fusebox::cpu
