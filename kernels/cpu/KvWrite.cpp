#include "kernels/cpu/KvWrite.h"

#include "kernels/cpu/KvPage.h"
#include "kernels/cpu/numerics/Rows.h"

using namespace fusebox;
using namespace fusebox::cpu;

namespace {

/// `Bits` is the unsigned integer as wide as an element; a key pair (bf16) is moved as one 32-bit word.
template <DType T, typename Bits>
void writeRows(const KvWriteShape *shape, void *const *args, const StepView *step, int64_t task) {
  const int64_t kvHeads = shape->kvHeads, headDim = shape->headDim;
  const RowRange rows = tileRows(int64_t(RowExtent::Tokens), shape->rowTile, step, task);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const int64_t position = step->position[row], slot = position % kvPageTokens;
    char *page = pageOf<T>(args[0], step, step->tokenSequence[row], position / kvPageTokens,
                           pageElements(kvHeads, headDim));
    for (int64_t head = 0; head < kvHeads; ++head) {
      const char *k = at<T>(args[1], (row * kvHeads + head) * headDim);
      const char *v = at<T>(args[2], (row * kvHeads + head) * headDim);
      char *keys = page + keyIndex<T>(headDim, head, 0, slot) * bytesOf<T>;
      char *values = page + valueIndex<T>(kvHeads, headDim, head, 0, slot) * bytesOf<T>;
      constexpr int64_t step32 = kvPageTokens * 4; // from one 32-bit key word of a slot to its next
      _Pragma("clang loop unroll_count(4)") for (int64_t word = 0; word < headDim * bytesOf<T> / 4; ++word)
          store(keys + word * step32, load<uint32_t>(k + word * 4));
      constexpr int64_t valueStride = T == DType::BF16 ? 2 : 1;
      _Pragma("clang loop unroll_count(4)") for (int64_t dim = 0; dim < headDim; ++dim)
          store(values + dim * valueStride * bytesOf<T>, load<Bits>(v + dim * bytesOf<T>));
    }
  }
}

} // namespace

extern "C" void fusebox_kv_write(const KvWriteShape *shape, void *const *args, const StepView *step, void *,
                                 int64_t task) {
  if (shape->type == int64_t(DType::BF16))
    writeRows<DType::BF16, uint16_t>(shape, args, step, task);
  else
    writeRows<DType::F32, uint32_t>(shape, args, step, task);
}
