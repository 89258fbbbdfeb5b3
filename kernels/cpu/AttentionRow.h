// attention_row: what the kernels norm (of each head of q and of k), rope (of q and k), kv_write and
// attention compute of a step's only token, as one launch with the same roundings. Arguments lie at places of
// their own, see AttentionRowArg.
#pragma once
#include "kernels/cpu/Attention.h"
#include "kernels/cpu/Norm.h"

enum class AttentionRowArg { Out, Kv, Q, K, V, Angles, QGain, KGain, Count };

struct AttentionRowShape {
  AttentionShape attention; ///< rowTile is 1
  int64_t rotaryDim;        ///< as in RopeShape
  int64_t interleaved;      ///< as in RopeShape
  int64_t anglesType;       ///< as in RopeShape
  int64_t roundProducts;    ///< as in RopeShape
  NormInFront front;        ///< of each head of q and k, before it is rotated
  /// Of an argument among the launch's; unread if it is not taken.
  int64_t place[int(AttentionRowArg::Count)];
};
