// RMSNorm of one group of elements: the norm kernel's work, and of kernels that norm what they read.
#pragma once

#include "kernels/cpu/Norm.h"
#include "kernels/cpu/numerics/Convert.h"

namespace fusebox::cpu {

template <DType T> FB_INLINE float sumOfSquares(const char *x, int64_t columns) {
  v16f sum = splat(0.0f);
  forLanes(columns, [&](int64_t i, int64_t count) FB_INLINE_LAMBDA {
    const v16f v = loadUpTo<T>(x + i * bytesOf<T>, count);
    sum = fma(v, v, sum);
  });
  return sumLanes(sum);
}

/// y = x [columns] normed, times gain [columns]; both of T, rounded as the shape says. y may be x.
template <DType T, DType Gain>
FB_INLINE void normGroup(const NormShape *shape, const char *x, const char *gain, char *y) {
  const float mean = sumOfSquares<T>(x, shape->columns) / float(shape->columns);
  const float factor = 1.0f / __builtin_sqrtf(mean + float(shape->eps));
  forLanes(shape->columns, [&](int64_t i, int64_t count) FB_INLINE_LAMBDA {
    v16f normalised = loadUpTo<T>(x + i * bytesOf<T>, count) * factor;
    if (shape->roundNormalised)
      normalised = roundTo<T>(normalised);
    v16f g = loadUpTo<Gain>(gain + i * bytesOf<Gain>, count);
    if (shape->onePlus)
      g = g + 1.0f;
    storeUpTo<T>(y + i * bytesOf<T>, normalised * g, count);
  });
}

/// normGroup for the shape's type of gain.
template <DType T>
FB_INLINE void normAnyGain(const NormShape *shape, const char *x, const char *gain, char *y) {
  if (shape->gainType == int64_t(DType::BF16))
    normGroup<T, DType::BF16>(shape, x, gain, y);
  else if (shape->gainType == int64_t(DType::F16))
    normGroup<T, DType::F16>(shape, x, gain, y);
  else
    normGroup<T, DType::F32>(shape, x, gain, y);
}

/// normAnyGain as a kernel's front asks for it.
template <DType T>
FB_INLINE void normInFront(const NormInFront *front, int64_t columns, const char *x, const char *gain,
                           char *y) {
  const NormShape shape = {.columns = columns,
                           .groups = 1,
                           .type = int64_t(T),
                           .gainType = front->gainType,
                           .roundNormalised = front->roundNormalised,
                           .onePlus = front->onePlus,
                           .eps = front->eps,
                           .rowExtent = 0,
                           .rowTile = 1};
  normAnyGain<T>(&shape, x, gain, y);
}

} // namespace fusebox::cpu
