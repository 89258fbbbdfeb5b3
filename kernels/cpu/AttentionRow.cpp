#include "kernels/cpu/AttentionRow.h"

#include "kernels/cpu/NormGroup.h"
#include "kernels/cpu/RotateHead.h"
#include "kernels/cpu/attention/Segment.h"

using namespace fusebox;
using namespace fusebox::cpu;

namespace {

FB_INLINE char *argOf(const AttentionRowShape *shape, void *const *args, AttentionRowArg arg) {
  return static_cast<char *>(args[shape->place[int(arg)]]);
}

/// A head of q or k [headDim], normed and rotated, into `out`.
template <DType T, DType Angles, bool Interleaved>
FB_INLINE void prepareHead(const AttentionRowShape *shape, const char *in, const char *gain,
                           const char *angles, char *out) {
  const AttentionShape *attention = &shape->attention;
  if (shape->front.norm) {
    normInFront<T>(&shape->front, attention->headDim, in, gain, out);
    in = out;
  }
  const RopeShape rope = {.heads = 1,
                          .headDim = attention->headDim,
                          .rotaryDim = shape->rotaryDim,
                          .interleaved = Interleaved,
                          .type = int64_t(T),
                          .anglesType = int64_t(Angles),
                          .roundProducts = shape->roundProducts,
                          .rowTile = 1};
  rotateHead<T, Angles, Interleaved>(&rope, in, out, angles);
}

/// Task: a kv head with its query heads. Only it reads the key and value that it writes.
template <DType T, DType Angles, bool Interleaved>
void attendToken(const AttentionRowShape *shape, void *const *args, const StepView *step, void *memory,
                 int64_t kvHead) {
  const AttentionShape *attention = &shape->attention;
  const int64_t kvHeads = attention->kvHeads, headDim = attention->headDim;
  const int64_t group = attention->heads / kvHeads, headBytes = headDim * bytesOf<T>;
  const auto arg = [&](AttentionRowArg which) FB_INLINE_LAMBDA { return argOf(shape, args, which); };
  const Scratch scratch = scratchIn(attention, memory);
  char *query = reinterpret_cast<char *>(scratch.total + group), *key = query + group * headBytes;
  const char *q = arg(AttentionRowArg::Q) + kvHead * group * headBytes;
  const char *angles = arg(AttentionRowArg::Angles);
  _Pragma("clang loop unroll(disable)") for (int64_t head = 0; head < group; ++head)
      prepareHead<T, Angles, Interleaved>(shape, q + head * headBytes, arg(AttentionRowArg::QGain), angles,
                                          query + head * headBytes);
  prepareHead<T, Angles, Interleaved>(shape, arg(AttentionRowArg::K) + kvHead * headBytes,
                                      arg(AttentionRowArg::KGain), angles, key);
  const int64_t position = step->position[0];
  char *pool = arg(AttentionRowArg::Kv);
  char *page =
      pageOf<T>(pool, step, step->tokenSequence[0], position / kvPageTokens, pageElements(kvHeads, headDim));
  writeSlot<T>(page, kvHeads, headDim, kvHead, position % kvPageTokens, key,
               arg(AttentionRowArg::V) + kvHead * headBytes);
  const Segment<T> segment = {attention, scratch, query, group * headBytes, group, step->position};
  attendSegment<T>(segment, arg(AttentionRowArg::Out), pool, step, 0, 1, kvHead);
}

template <DType T, DType Angles>
FB_INLINE void dispatchLayout(const AttentionRowShape *shape, void *const *args, const StepView *step,
                              void *scratch, int64_t task) {
  if (shape->interleaved)
    attendToken<T, Angles, true>(shape, args, step, scratch, task);
  else
    attendToken<T, Angles, false>(shape, args, step, scratch, task);
}

} // namespace

extern "C" void fusebox_attention_row(const AttentionRowShape *shape, void *const *args, const StepView *step,
                                      void *scratch, int64_t task) {
  withActivation(shape->attention.type, [&]<DType T>() FB_INLINE_LAMBDA {
    withActivation(shape->anglesType, [&]<DType Angles>() FB_INLINE_LAMBDA {
      dispatchLayout<T, Angles>(shape, args, step, scratch, task);
    });
  });
}
