#include "kernels/cpu/KvWrite.h"

#include "kernels/cpu/KvPage.h"
#include "kernels/cpu/numerics/Rows.h"

using namespace fusebox;
using namespace fusebox::cpu;

namespace {

template <DType T>
void writeRows(const KvWriteShape *shape, void *const *args, const StepView *step, int64_t task) {
  const int64_t kvHeads = shape->kvHeads, headDim = shape->headDim;
  const RowRange rows = tileRows(int64_t(RowExtent::Tokens), shape->rowTile, step, task);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const int64_t position = step->position[row], slot = position % kvPageTokens;
    char *page = pageOf<T>(args[0], step, step->tokenSequence[row], position / kvPageTokens,
                           pageElements(kvHeads, headDim));
    for (int64_t head = 0; head < kvHeads; ++head) {
      const int64_t first = (row * kvHeads + head) * headDim;
      writeSlot<T>(page, kvHeads, headDim, head, slot, at<T>(args[1], first), at<T>(args[2], first));
    }
  }
}

} // namespace

extern "C" void fusebox_kv_write(const KvWriteShape *shape, void *const *args, const StepView *step, void *,
                                 int64_t task) {
  if (shape->type == int64_t(DType::BF16))
    writeRows<DType::BF16>(shape, args, step, task);
  else
    writeRows<DType::F32>(shape, args, step, task);
}
