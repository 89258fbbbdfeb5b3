#include "kernels/cpu/Linear.h"

#include "kernels/cpu/linear/Dispatch.h"
#include "kernels/cpu/linear/Gemm.h"
#include "kernels/cpu/linear/Gemv.h"

using namespace fusebox;
using namespace fusebox::cpu;

extern "C" void fusebox_linear(const LinearShape *shape, void *const *args, const StepView *step,
                               void *scratch, int64_t task) {
  withWay(shape, [&]<typename Way, DType>() FB_INLINE_LAMBDA {
    if (shape->rowTile == 1)
      linearVector<Way>(shape, args, step, scratch, task);
    else
      linearMatrix<Way>(shape, args, step, scratch, task);
  });
}
