#include "kernels/cpu/SelectRows.h"

#include "kernels/cpu/numerics/Convert.h"
#include "kernels/cpu/numerics/Rows.h"

using namespace fusebox;
using namespace fusebox::cpu;

namespace {

/// Copies bits; 16 elements at a time.
template <typename Lanes, typename One>
void copyRows(const SelectRowsShape *shape, void *const *args, const StepView *step, int64_t task) {
  const int64_t columns = shape->columns;
  const RowRange rows = tileRows(int64_t(RowExtent::LogitsRows), shape->rowTile, step, task);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const One *from = static_cast<const One *>(args[1]) + step->logitsRow[row] * columns;
    One *to = static_cast<One *>(args[0]) + row * columns;
    int64_t i = 0;
    for (; i + lanes <= columns; i += lanes)
      store(to + i, load<Lanes>(from + i));
    for (; i < columns; ++i)
      to[i] = from[i];
  }
}

} // namespace

extern "C" void fusebox_select_rows(const SelectRowsShape *shape, void *const *args, const StepView *step,
                                    void *, int64_t task) {
  if (shape->type == int64_t(DType::BF16))
    copyRows<v16h, uint16_t>(shape, args, step, task);
  else
    copyRows<v16u, uint32_t>(shape, args, step, task);
}
