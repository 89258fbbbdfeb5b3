// linear_row: products of a step's only row with what stands before and behind them, for decoding: fewer
// launches, the same roundings. Arguments lie at places of their own, see LinearRowArg.
//
//   x = in, or norm(in) · gain as the norm kernel rounds it;
//   y = round(x · Wᵀ + bias) as the linear kernel has it;
//   out = y; round(y + residual) as add; or round(act(y) · y₂) as glu, y₂ the same of a second weight.
//
// A thread makes x once for all its tasks.
#pragma once
#include "kernels/cpu/Linear.h"
#include "kernels/cpu/Norm.h"

enum class LinearRowEnding : int64_t { None, Residual, Glu };
enum class LinearRowArg { Out, In, Weight, SecondWeight, Bias, SecondBias, Gain, Residual, Count };

struct LinearRowShape {
  LinearShape linear;                      ///< of each product; rowTile is 1
  int64_t ending;                          ///< LinearRowEnding
  int64_t activation;                      ///< with Glu: as in GluShape, whose type is the products' outType
  int64_t roundActivation;                 ///< with Glu
  NormInFront front;                       ///< of `in`, its type is the products' inType
  int64_t place[int(LinearRowArg::Count)]; ///< of an argument among the launch's; unread if it is not taken
};
