// linear_int8: the linear kernel with activations quantised to 8 bits in blocks of 32 (`--activations-int8`).
// Same shape struct and arguments as linear; weights are Q8_0, Q4_0 or Q4_1.
//
// Two blocks make a step: lane i of 16 takes the four products of bytes 4 i … 4 i + 3, an exact integer,
// times both blocks' scales by one FMA; steps are chained, lanes summed by the tree. Q4_1's minimum as in
// linear, with the sum of the quantised activations. The same bits on every ISA and for any number of rows.
#include "kernels/cpu/linear/Gemm.h"
#include "kernels/cpu/linear/Gemv.h"
#include "kernels/cpu/linear/Int8.h"

using namespace fusebox;
using namespace fusebox::cpu;

namespace {

template <DType In, DType T>
FB_INLINE void dispatchVariant(const LinearShape *shape, void *const *args, const StepView *step,
                               void *scratch, int64_t task) {
  if (shape->rowTile == 1)
    linearVector<Int8Way<In, T>>(shape, args, step, scratch, task);
  else
    linearMatrix<Int8Way<In, T>>(shape, args, step, scratch, task);
}

template <DType In>
FB_INLINE void dispatchWeight(const LinearShape *shape, void *const *args, const StepView *step,
                              void *scratch, int64_t task) {
  if (shape->weightType == int64_t(DType::Q8_0))
    dispatchVariant<In, DType::Q8_0>(shape, args, step, scratch, task);
  else if (shape->weightType == int64_t(DType::Q4_0))
    dispatchVariant<In, DType::Q4_0>(shape, args, step, scratch, task);
  else
    dispatchVariant<In, DType::Q4_1>(shape, args, step, scratch, task);
}

} // namespace

extern "C" void fusebox_linear_int8(const LinearShape *shape, void *const *args, const StepView *step,
                                    void *scratch, int64_t task) {
  if (shape->inType == int64_t(DType::F32))
    dispatchWeight<DType::F32>(shape, args, step, scratch, task);
  else
    dispatchWeight<DType::BF16>(shape, args, step, scratch, task);
}
