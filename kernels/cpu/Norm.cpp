#include "kernels/cpu/NormGroup.h"
#include "kernels/cpu/numerics/Rows.h"

using namespace fusebox;
using namespace fusebox::cpu;

namespace {

template <DType T>
void normRows(const NormShape *shape, void *const *args, const StepView *step, int64_t task) {
  const int64_t columns = shape->columns, groups = shape->groups;
  const char *gain = static_cast<const char *>(args[2]);
  const RowRange rows = tileRows(shape->rowExtent, shape->rowTile, step, task);
  for (int64_t group = rows.begin * groups; group < rows.end * groups; ++group)
    normAnyGain<T>(shape, at<T>(args[1], group * columns), gain, at<T>(args[0], group * columns));
}

} // namespace

extern "C" void fusebox_norm(const NormShape *shape, void *const *args, const StepView *step, void *,
                             int64_t task) {
  if (shape->type == int64_t(DType::BF16))
    normRows<DType::BF16>(shape, args, step, task);
  else
    normRows<DType::F32>(shape, args, step, task);
}
