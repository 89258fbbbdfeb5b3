#include "kernels/cpu/Embed.h"

#include "kernels/cpu/numerics/Blocks.h"
#include "kernels/cpu/numerics/Rows.h"

using namespace fusebox;
using namespace fusebox::cpu;

namespace {

/// out[t] = round(table[token t] · scale). A copy when there is nothing to round.
template <DType Table, DType Out>
void embedRows(const EmbedShape *shape, void *const *args, const StepView *step, int64_t task) {
  const int64_t columns = shape->columns;
  const float scale = float(shape->scale);
  const RowRange rows = tileRows(int64_t(RowExtent::Tokens), shape->rowTile, step, task);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const char *from = static_cast<const char *>(args[1]) + step->token[row] * rowBytes<Table>(columns);
    char *to = at<Out>(args[0], row * columns);
    forLanes(columns, [&](int64_t i, int64_t count) FB_INLINE_LAMBDA {
      storeUpTo<Out>(to + i * bytesOf<Out>, loadWeightLanes<Table>(from, i, count) * scale, count);
    });
  }
}

template <DType Table>
FB_INLINE void dispatchOut(const EmbedShape *shape, void *const *args, const StepView *step, int64_t task) {
  if (shape->outType == int64_t(DType::BF16))
    embedRows<Table, DType::BF16>(shape, args, step, task);
  else
    embedRows<Table, DType::F32>(shape, args, step, task);
}

} // namespace

extern "C" void fusebox_embed(const EmbedShape *shape, void *const *args, const StepView *step, void *,
                              int64_t task) {
  switch (DType(shape->tableType)) {
  case DType::F32:
    return dispatchOut<DType::F32>(shape, args, step, task);
  case DType::F16:
    return dispatchOut<DType::F16>(shape, args, step, task);
  case DType::Q8_0:
    return dispatchOut<DType::Q8_0>(shape, args, step, task);
  case DType::Q4_0:
    return dispatchOut<DType::Q4_0>(shape, args, step, task);
  case DType::Q4_1:
    return dispatchOut<DType::Q4_1>(shape, args, step, task);
  default:
    return dispatchOut<DType::BF16>(shape, args, step, task);
  }
}
