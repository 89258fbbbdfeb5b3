// attention: causal softmax(q · kᵀ · scale) · v over the paged cache, grouped heads. args: out, q, kv.
//
// "sdpa" rounding. A query row walks its key blocks (KV pages, 64 absolute positions) in order: scores in
// f32, running maximum, p = exp(s − maximum) in f32, the sum over p as it is, p rounded to `type` before p ·
// v, earlier sums rescaled by exp(old maximum − new), one division and one rounding at the end. Its bits
// depend on its own position and the cache alone.
#pragma once
#include <cstdint>

struct AttentionShape {
  int64_t heads;
  int64_t kvHeads;
  int64_t headDim;  ///< even
  int64_t type;     ///< DType of out, q and kv: BF16 or F32
  double scale;     ///< as f32, on the scores
  int64_t window;   ///< a query sees its last `window` keys; 0: all
  double softcap;   ///< scores become cap · tanh(s / cap); 0: none
  int64_t rounding; ///< 0: sdpa
  int64_t rowTile;  ///< tokens a task
};
