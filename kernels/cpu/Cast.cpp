#include "kernels/cpu/Cast.h"

#include "kernels/cpu/numerics/Convert.h"
#include "kernels/cpu/numerics/Rows.h"

using namespace fusebox;
using namespace fusebox::cpu;

namespace {

template <DType In, DType Out>
void castRows(const CastShape *shape, void *const *args, const StepView *step, int64_t task) {
  const RowRange rows = tileRows(shape->rowExtent, shape->rowTile, step, task);
  const char *in = at<In>(args[1], rows.begin * shape->columns);
  char *out = at<Out>(args[0], rows.begin * shape->columns);
  forLanes((rows.end - rows.begin) * shape->columns, [&](int64_t i, int64_t count) FB_INLINE_LAMBDA {
    storeUpTo<Out>(out + i * bytesOf<Out>, loadUpTo<In>(in + i * bytesOf<In>, count), count);
  });
}

template <DType In>
FB_INLINE void dispatchOut(const CastShape *shape, void *const *args, const StepView *step, int64_t task) {
  if (shape->outType == int64_t(DType::BF16))
    castRows<In, DType::BF16>(shape, args, step, task);
  else
    castRows<In, DType::F32>(shape, args, step, task);
}

} // namespace

extern "C" void fusebox_cast(const CastShape *shape, void *const *args, const StepView *step, void *,
                             int64_t task) {
  if (shape->inType == int64_t(DType::BF16))
    dispatchOut<DType::BF16>(shape, args, step, task);
  else
    dispatchOut<DType::F32>(shape, args, step, task);
}
