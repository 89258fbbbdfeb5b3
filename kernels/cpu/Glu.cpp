#include "kernels/cpu/Glu.h"

#include "kernels/cpu/GluLanes.h"
#include "kernels/cpu/numerics/Rows.h"

using namespace fusebox;
using namespace fusebox::cpu;

namespace {

template <DType T, int Activation>
void gluRows(const GluShape *shape, void *const *args, const StepView *step, int64_t task) {
  const RowRange rows = tileRows(shape->rowExtent, shape->rowTile, step, task);
  const char *gate = at<T>(args[1], rows.begin * shape->columns),
             *up = at<T>(args[2], rows.begin * shape->columns);
  char *out = at<T>(args[0], rows.begin * shape->columns);
  forLanes((rows.end - rows.begin) * shape->columns, [&](int64_t i, int64_t count) FB_INLINE_LAMBDA {
    const int64_t offset = i * bytesOf<T>;
    storeUpTo<T>(out + offset,
                 gluLanes<T, Activation>(loadUpTo<T>(gate + offset, count), loadUpTo<T>(up + offset, count),
                                         shape->roundActivation),
                 count);
  });
}

template <DType T>
FB_INLINE void dispatchActivation(const GluShape *shape, void *const *args, const StepView *step,
                                  int64_t task) {
  if (shape->activation == 0)
    gluRows<T, 0>(shape, args, step, task);
  else if (shape->activation == 1)
    gluRows<T, 1>(shape, args, step, task);
  else
    gluRows<T, 2>(shape, args, step, task);
}

} // namespace

extern "C" void fusebox_glu(const GluShape *shape, void *const *args, const StepView *step, void *,
                            int64_t task) {
  if (shape->type == int64_t(DType::BF16))
    dispatchActivation<DType::BF16>(shape, args, step, task);
  else
    dispatchActivation<DType::F32>(shape, args, step, task);
}
