#include "kernels/cpu/attention/Segment.h"
#include "kernels/cpu/numerics/Rows.h"

using namespace fusebox;
using namespace fusebox::cpu;

namespace {

/// Task: tokens of a tile × one kv head (the faster index).
template <DType T>
void attentionTask(const AttentionShape *shape, void *const *args, const StepView *step, void *memory,
                   int64_t task) {
  const int64_t kvHead = task % shape->kvHeads, group = shape->heads / shape->kvHeads;
  const RowRange tokens = tileRows(int64_t(RowExtent::Tokens), shape->rowTile, step, task / shape->kvHeads);
  const Scratch scratch = scratchIn(shape, memory);
  const int64_t qStride = shape->heads * shape->headDim * bytesOf<T>;
  for (int64_t token = tokens.begin; token < tokens.end;) {
    int64_t end = token + 1;
    while (end < tokens.end && step->tokenSequence[end] == step->tokenSequence[token])
      ++end;
    const char *q =
        static_cast<const char *>(args[1]) + token * qStride + kvHead * group * shape->headDim * bytesOf<T>;
    const Segment<T> segment = {shape, scratch, q, qStride, group, step->position + token};
    attendSegment<T>(segment, args[0], args[2], step, token, end - token, kvHead);
    token = end;
  }
}

} // namespace

extern "C" void fusebox_attention(const AttentionShape *shape, void *const *args, const StepView *step,
                                  void *scratch, int64_t task) {
  if (shape->type == int64_t(DType::BF16))
    attentionTask<DType::BF16>(shape, args, step, scratch, task);
  else
    attentionTask<DType::F32>(shape, args, step, scratch, task);
}
