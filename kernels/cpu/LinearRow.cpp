#include "kernels/cpu/LinearRow.h"

#include "kernels/cpu/GluLanes.h"
#include "kernels/cpu/NormGroup.h"
#include "kernels/cpu/linear/Dispatch.h"
#include "kernels/cpu/linear/Gemv.h"

using namespace fusebox;
using namespace fusebox::cpu;

namespace {

FB_INLINE char *argOf(const LinearRowShape *shape, void *const *args, LinearRowArg arg) {
  return static_cast<char *>(args[shape->place[int(arg)]]);
}

/// Task: columns [task·colTile, …) of out.
template <typename Way, DType In, DType Out, LinearRowEnding Ending, int Activation>
void rowTask(const LinearRowShape *shape, void *const *args, void *scratch, int64_t task) {
  const LinearShape *linear = &shape->linear;
  const VectorTask part = vectorTask(linear, task);
  const auto arg = [&](LinearRowArg which) FB_INLINE_LAMBDA { return argOf(shape, args, which); };
  const char *weight = arg(LinearRowArg::Weight), *second = arg(LinearRowArg::SecondWeight);
  VectorRow row = vectorRow(at<In>(arg(LinearRowArg::In), part.row * linear->in), scratch, part.row);
  if (row.isNew) {
    prefetchFirst<Way>(linear, weight, part.begin);
    if constexpr (Ending == LinearRowEnding::Glu)
      prefetchFirst<Way>(linear, second, part.begin);
  }
  if (shape->front.norm) {
    char *normed = scratchRow(linear, scratch);
    if (row.isNew)
      normInFront<In>(&shape->front, linear->in, row.x, arg(LinearRowArg::Gain), normed);
    row.x = normed;
  }
  prepareRow<Way>(linear, row, scratch);
  const auto product = [&](const char *from, LinearRowArg bias, int64_t column,
                           int64_t count) FB_INLINE_LAMBDA {
    const char *added = linear->hasBias ? arg(bias) : nullptr;
    return roundTo<Out>(roundOutput(linear, gemvLanes<Way>(linear, row, from, added, column, count)));
  };
  for (int64_t column = part.begin; column < part.end; column += lanes) {
    const int64_t count = part.end - column < lanes ? part.end - column : lanes;
    const int64_t element = part.row * linear->out + column;
    v16f result = product(weight, LinearRowArg::Bias, column, count);
    if constexpr (Ending == LinearRowEnding::Residual)
      result = result + loadUpTo<Out>(at<Out>(arg(LinearRowArg::Residual), element), count);
    if constexpr (Ending == LinearRowEnding::Glu)
      result = gluLanes<Out, Activation>(result, product(second, LinearRowArg::SecondBias, column, count),
                                         shape->roundActivation);
    storeUpTo<Out>(at<Out>(arg(LinearRowArg::Out), element), result, count);
  }
}

template <typename Way, DType In, DType Out>
FB_INLINE void dispatchEnding(const LinearRowShape *shape, void *const *args, void *scratch, int64_t task) {
  using enum LinearRowEnding;
  if (shape->ending == int64_t(None))
    rowTask<Way, In, Out, None, 0>(shape, args, scratch, task);
  else if (shape->ending == int64_t(Residual))
    rowTask<Way, In, Out, Residual, 0>(shape, args, scratch, task);
  else if (shape->activation == 0)
    rowTask<Way, In, Out, Glu, 0>(shape, args, scratch, task);
  else if (shape->activation == 1)
    rowTask<Way, In, Out, Glu, 1>(shape, args, scratch, task);
  else
    rowTask<Way, In, Out, Glu, 2>(shape, args, scratch, task);
}

} // namespace

extern "C" void fusebox_linear_row(const LinearRowShape *shape, void *const *args, const StepView *,
                                   void *scratch, int64_t task) {
  withWay(&shape->linear, [&]<typename Way, DType In>() FB_INLINE_LAMBDA {
    if (shape->linear.outType == int64_t(DType::F32))
      dispatchEnding<Way, In, DType::F32>(shape, args, scratch, task);
    else
      dispatchEnding<Way, In, DType::BF16>(shape, args, scratch, task);
  });
}
