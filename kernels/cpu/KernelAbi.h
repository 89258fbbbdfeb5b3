// What a CPU kernel is: the calling convention between the runtime's worker threads and compiled kernels.
//
// Included by the kernels' own sources (compiled to bitcode) and by the runtime. Plain C layout, no
// dependencies.
//
// A kernel's source defines  void fusebox_<name>(const <Name>Shape *shape, void *const *args,
//                                                const fusebox::StepView *step, void *scratch, int64_t task)
// where <Name>Shape is a struct of int64_t and double fields. The compiler emits, for each launch of a plan,
// a function of type KernelFn that calls it with a constant shape and optimises the result for the target
// CPU.
//
// Rules: no calls outside the image, no global state, no memory allocation; unaligned loads and stores
// (weights are mapped from files that align to 8 bytes only); a task writes only its own part of the outputs,
// and its bits do not depend on which tasks run beside it. Worker threads run with FTZ and DAZ set.
#pragma once

#include <cstdint>

namespace fusebox {

/// One ragged step as kernels see it. Sequence s owns tokens [sequenceStart[s], sequenceStart[s+1]) of the
/// step.
struct StepView {
  int32_t tokens;               ///< N, rows of every per-token buffer
  int32_t sequences;            ///< S
  int32_t logitsRows;           ///< R, rows of every per-logits-row buffer
  int32_t maxPages;             ///< length of a row of blockTable
  const int32_t *token;         ///< [N] token ids
  const int32_t *position;      ///< [N] absolute positions
  const int32_t *sequenceStart; ///< [S+1]
  const int32_t *tokenSequence; ///< [N] the sequence that owns each token
  const int32_t *blockTable;    ///< [S][maxPages] KV page of tokens [64 p, 64 p + 64) of a sequence
  const int32_t *logitsRow;     ///< [R] step rows whose logits are wanted
};

/// A specialised kernel. `args` holds one pointer per plan argument (buffers, weights, constants, KV pool of
/// the layer); `scratch` is private to the thread and as large as the plan says; `task` is in [0, tasks).
using KernelFn = void (*)(void *const *args, const StepView *step, void *scratch, int64_t task);

/// A scratch's first bytes are zero at a thread's first task of a launch, and at one that follows a task of
/// another launch: a kernel may mark there what it has prepared for its next tasks.
inline constexpr int scratchMarkBytes = 8;

/// Tokens in a KV page, and the key block of the attention kernels: softmax is rescaled at these boundaries
/// only, so the bits of a result don't depend on how a prompt was cut into chunks.
inline constexpr int kvPageTokens = 64;

} // namespace fusebox
