#include "kernels/cpu/Linear.h"

#include "kernels/cpu/linear/Gemm.h"
#include "kernels/cpu/linear/Gemv.h"

using namespace fusebox;
using namespace fusebox::cpu;

namespace {

template <typename Way>
FB_INLINE void dispatchVariant(const LinearShape *shape, void *const *args, const StepView *step,
                               void *scratch, int64_t task) {
  if (shape->rowTile == 1)
    linearVector<Way>(shape, args, step, scratch, task);
  else
    linearMatrix<Way>(shape, args, step, scratch, task);
}

template <DType W>
FB_INLINE void dispatchF32(const LinearShape *shape, void *const *args, const StepView *step, void *scratch,
                           int64_t task) {
  if (shape->inType == int64_t(DType::F32))
    dispatchVariant<F32Way<DType::F32, W>>(shape, args, step, scratch, task);
  else if constexpr (W == DType::F32 || W == DType::F16)
    dispatchVariant<F32Way<DType::BF16, W>>(shape, args, step, scratch, task);
  else if constexpr (W == DType::BF16)
    dispatchVariant<PairsWay>(shape, args, step, scratch, task);
  else
    dispatchVariant<BlockWay<W>>(shape, args, step, scratch, task);
}

} // namespace

extern "C" void fusebox_linear(const LinearShape *shape, void *const *args, const StepView *step,
                               void *scratch, int64_t task) {
  switch (DType(shape->weightType)) {
  case DType::F32:
    return dispatchF32<DType::F32>(shape, args, step, scratch, task);
  case DType::F16:
    return dispatchF32<DType::F16>(shape, args, step, scratch, task);
  case DType::Q8_0:
    return dispatchF32<DType::Q8_0>(shape, args, step, scratch, task);
  case DType::Q4_0:
    return dispatchF32<DType::Q4_0>(shape, args, step, scratch, task);
  case DType::Q4_1:
    return dispatchF32<DType::Q4_1>(shape, args, step, scratch, task);
  default:
    return dispatchF32<DType::BF16>(shape, args, step, scratch, task);
  }
}
