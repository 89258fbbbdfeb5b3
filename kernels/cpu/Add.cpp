#include "kernels/cpu/Add.h"

#include "kernels/cpu/numerics/Convert.h"
#include "kernels/cpu/numerics/Rows.h"

using namespace fusebox;
using namespace fusebox::cpu;

namespace {

template <DType T>
void addRows(const AddShape *shape, void *const *args, const StepView *step, int64_t task) {
  const RowRange rows = tileRows(shape->rowExtent, shape->rowTile, step, task);
  const char *a = at<T>(args[1], rows.begin * shape->columns),
             *b = at<T>(args[2], rows.begin * shape->columns);
  char *out = at<T>(args[0], rows.begin * shape->columns);
  forLanes((rows.end - rows.begin) * shape->columns, [&](int64_t i, int64_t count) FB_INLINE_LAMBDA {
    const int64_t offset = i * bytesOf<T>;
    storeUpTo<T>(out + offset, loadUpTo<T>(a + offset, count) + loadUpTo<T>(b + offset, count), count);
  });
}

} // namespace

extern "C" void fusebox_add(const AddShape *shape, void *const *args, const StepView *step, void *,
                            int64_t task) {
  if (shape->type == int64_t(DType::BF16))
    addRows<DType::BF16>(shape, args, step, task);
  else
    addRows<DType::F32>(shape, args, step, task);
}
