// The operations of the layer dialect, each straight from its definition. Used by Evaluate.cpp and by tests
// of kernels.
//
// `r` is the type that an operation rounds to at the points its attributes name and at its end; what lies
// between is then computed in f32, as the reference does. Rounding::None gives the real-number value to f64's
// accuracy. Matrix products are summed in f64 in both: where values are rounded, such a sum stands for one in
// f32 without its own error.
#pragma once

#include "ir/interpreter/Tensor.h"
#include "ir/interpreter/Weights.h"

namespace fusebox::oracle {

Tensor embed(layer::EmbedOp op, const Tensor &tokens, const WeightRows &weights, int64_t layer, Rounding r);
Tensor selectRows(const Tensor &input, const Tensor &rows);
Tensor norm(layer::NormOp op, const Tensor &input, const WeightRows &weights, int64_t layer, Rounding r);
Tensor linear(layer::LinearOp op, const Tensor &input, const WeightRows &weights, int64_t layer, Rounding r);
/// position · inv_freq is an f32 product even with Rounding::None; its cosine and sine are taken in f64.
Tensor ropeAngles(layer::RopeAnglesOp op, const Tensor &positions, Rounding r);
Tensor rope(layer::RopeOp op, const Tensor &input, const Tensor &angles, Rounding r);
/// `k` and `v` hold positions 0 to k.rows − 1, the last q.rows of which are the queries' own.
Tensor attention(layer::AttentionOp op, const Tensor &q, const Tensor &k, const Tensor &v, Rounding r);
Tensor glu(layer::GluOp op, const Tensor &gate, const Tensor &up, Rounding r);
Tensor add(const Tensor &lhs, const Tensor &rhs, Rounding r);
Tensor scale(const Tensor &input, double factor, Rounding r);
Tensor softcap(const Tensor &input, double cap, Rounding r);
Tensor cast(const Tensor &input, Rounding r);

} // namespace fusebox::oracle
