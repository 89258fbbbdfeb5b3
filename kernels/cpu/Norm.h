// norm: RMSNorm of each group of `columns` elements with one gain. args: out, in, gain [columns].
#pragma once
#include <cstdint>

struct NormShape {
  int64_t columns;         ///< elements normed together (hidden size; head size for a per-head norm)
  int64_t groups;          ///< groups in a row
  int64_t type;            ///< DType of in and out: BF16 or F32
  int64_t gainType;        ///< DType: BF16, F32 or F16
  int64_t roundNormalised; ///< 1: x·r is rounded to `type`, then times gain and rounded; 0: one rounding
  int64_t onePlus;         ///< 1: the gain is 1 + γ, added in f32
  double eps;
  int64_t rowExtent; ///< RowExtent of the rows
  int64_t rowTile;   ///< rows a task
};

/// A norm that another kernel computes in front of its own work, of `columns` and types that it knows.
struct NormInFront {
  int64_t norm; ///< 0: none, the rest is unread
  int64_t gainType, roundNormalised, onePlus;
  double eps;
};
