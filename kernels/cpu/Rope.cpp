#include "kernels/cpu/RotateHead.h"
#include "kernels/cpu/numerics/Rows.h"

using namespace fusebox;
using namespace fusebox::cpu;

namespace {

template <DType T, DType Angles, bool Interleaved>
void ropeRows(const RopeShape *shape, void *const *args, const StepView *step, int64_t task) {
  const RowRange rows = tileRows(int64_t(RowExtent::Tokens), shape->rowTile, step, task);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const char *angles = at<Angles>(args[2], row * shape->rotaryDim);
    for (int64_t head = 0; head < shape->heads; ++head) {
      const int64_t first = (row * shape->heads + head) * shape->headDim;
      rotateHead<T, Angles, Interleaved>(shape, at<T>(args[1], first), at<T>(args[0], first), angles);
    }
  }
}

template <DType T, DType Angles>
FB_INLINE void dispatchLayout(const RopeShape *shape, void *const *args, const StepView *step, int64_t task) {
  if (shape->interleaved)
    ropeRows<T, Angles, true>(shape, args, step, task);
  else
    ropeRows<T, Angles, false>(shape, args, step, task);
}

template <DType T>
FB_INLINE void dispatchAngles(const RopeShape *shape, void *const *args, const StepView *step, int64_t task) {
  if (shape->anglesType == int64_t(DType::BF16))
    dispatchLayout<T, DType::BF16>(shape, args, step, task);
  else
    dispatchLayout<T, DType::F32>(shape, args, step, task);
}

} // namespace

extern "C" void fusebox_rope(const RopeShape *shape, void *const *args, const StepView *step, void *,
                             int64_t task) {
  if (shape->type == int64_t(DType::BF16))
    dispatchAngles<DType::BF16>(shape, args, step, task);
  else
    dispatchAngles<DType::F32>(shape, args, step, task);
}
