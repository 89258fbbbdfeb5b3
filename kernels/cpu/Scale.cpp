#include "kernels/cpu/Scale.h"

#include "kernels/cpu/numerics/Convert.h"
#include "kernels/cpu/numerics/Rows.h"

using namespace fusebox;
using namespace fusebox::cpu;

namespace {

template <DType T>
void scaleRows(const ScaleShape *shape, void *const *args, const StepView *step, int64_t task) {
  const RowRange rows = tileRows(shape->rowExtent, shape->rowTile, step, task);
  const float factor = float(shape->factor);
  const char *in = at<T>(args[1], rows.begin * shape->columns);
  char *out = at<T>(args[0], rows.begin * shape->columns);
  forLanes((rows.end - rows.begin) * shape->columns, [&](int64_t i, int64_t count) FB_INLINE_LAMBDA {
    storeUpTo<T>(out + i * bytesOf<T>, loadUpTo<T>(in + i * bytesOf<T>, count) * factor, count);
  });
}

} // namespace

extern "C" void fusebox_scale(const ScaleShape *shape, void *const *args, const StepView *step, void *,
                              int64_t task) {
  if (shape->type == int64_t(DType::BF16))
    scaleRows<DType::BF16>(shape, args, step, task);
  else
    scaleRows<DType::F32>(shape, args, step, task);
}
