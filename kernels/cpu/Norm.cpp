#include "kernels/cpu/Norm.h"

#include "kernels/cpu/numerics/Convert.h"
#include "kernels/cpu/numerics/Rows.h"

using namespace fusebox;
using namespace fusebox::cpu;

namespace {

template <DType T> FB_INLINE float sumOfSquares(const char *x, int64_t columns) {
  v16f sum = splat(0.0f);
  forLanes(columns, [&](int64_t i, int64_t count) FB_INLINE_LAMBDA {
    const v16f v = loadUpTo<T>(x + i * bytesOf<T>, count);
    sum = fma(v, v, sum);
  });
  return sumLanes(sum);
}

template <DType T, DType Gain>
void normRows(const NormShape *shape, void *const *args, const StepView *step, int64_t task) {
  const int64_t columns = shape->columns, groups = shape->groups;
  const char *gain = static_cast<const char *>(args[2]);
  const RowRange rows = tileRows(shape->rowExtent, shape->rowTile, step, task);
  for (int64_t group = rows.begin * groups; group < rows.end * groups; ++group) {
    const char *x = at<T>(args[1], group * columns);
    char *y = at<T>(args[0], group * columns);
    const float mean = sumOfSquares<T>(x, columns) / float(columns);
    const float factor = 1.0f / __builtin_sqrtf(mean + float(shape->eps));
    forLanes(columns, [&](int64_t i, int64_t count) FB_INLINE_LAMBDA {
      v16f normalised = loadUpTo<T>(x + i * bytesOf<T>, count) * factor;
      if (shape->roundNormalised)
        normalised = roundTo<T>(normalised);
      v16f g = loadUpTo<Gain>(gain + i * bytesOf<Gain>, count);
      if (shape->onePlus)
        g = g + 1.0f;
      storeUpTo<T>(y + i * bytesOf<T>, normalised * g, count);
    });
  }
}

template <DType T>
FB_INLINE void dispatchGain(const NormShape *shape, void *const *args, const StepView *step, int64_t task) {
  if (shape->gainType == int64_t(DType::BF16))
    normRows<T, DType::BF16>(shape, args, step, task);
  else if (shape->gainType == int64_t(DType::F16))
    normRows<T, DType::F16>(shape, args, step, task);
  else
    normRows<T, DType::F32>(shape, args, step, task);
}

} // namespace

extern "C" void fusebox_norm(const NormShape *shape, void *const *args, const StepView *step, void *,
                             int64_t task) {
  if (shape->type == int64_t(DType::BF16))
    dispatchGain<DType::BF16>(shape, args, step, task);
  else
    dispatchGain<DType::F32>(shape, args, step, task);
}
