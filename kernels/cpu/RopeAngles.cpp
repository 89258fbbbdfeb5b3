#include "kernels/cpu/RopeAngles.h"

#include "kernels/cpu/numerics/Convert.h"
#include "kernels/cpu/numerics/Rows.h"
#include "kernels/cpu/numerics/SinCos.h"

using namespace fusebox;
using namespace fusebox::cpu;

namespace {

/// The angle is position · invFreq rounded to f32, as the reference has it; its functions are exact to f32.
template <DType Out>
void anglesRows(const RopeAnglesShape *shape, void *const *args, const StepView *step, int64_t task) {
  const int64_t half = shape->half;
  const float factor = float(shape->attentionFactor);
  const char *invFreq = static_cast<const char *>(args[1]);
  const RowRange rows = tileRows(int64_t(RowExtent::Tokens), shape->rowTile, step, task);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float position = float(step->position[row]);
    char *cosOut = at<Out>(args[0], row * 2 * half), *sinOut = cosOut + half * bytesOf<Out>;
    forLanes(half, [&](int64_t i, int64_t count) FB_INLINE_LAMBDA {
      const v16f angle = loadUpTo<DType::F32>(invFreq + i * 4, count) * position;
      const SinCos low = sinCos(__builtin_convertvector(angle.lo, v8d));
      const SinCos high = sinCos(__builtin_convertvector(angle.hi, v8d));
      v16f cos, sin;
      cos.lo = __builtin_convertvector(low.cos, v8f);
      cos.hi = __builtin_convertvector(high.cos, v8f);
      sin.lo = __builtin_convertvector(low.sin, v8f);
      sin.hi = __builtin_convertvector(high.sin, v8f);
      storeUpTo<Out>(cosOut + i * bytesOf<Out>, cos * factor, count);
      storeUpTo<Out>(sinOut + i * bytesOf<Out>, sin * factor, count);
    });
  }
}

} // namespace

extern "C" void fusebox_rope_angles(const RopeAnglesShape *shape, void *const *args, const StepView *step,
                                    void *, int64_t task) {
  if (shape->outType == int64_t(DType::BF16))
    anglesRows<DType::BF16>(shape, args, step, task);
  else
    anglesRows<DType::F32>(shape, args, step, task);
}
