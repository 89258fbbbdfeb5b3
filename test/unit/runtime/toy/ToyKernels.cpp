// Kernels of the toy model (ToyModel.h), compiled to a position-independent image when the tests are built.
#include "kernels/cpu/KernelAbi.h"

using fusebox::StepView;

namespace {
constexpr int64_t hidden = 16, vocabulary = 40, tile = 4;

struct Rows {
  int64_t first, end;
};
Rows rowsOf(int64_t task, int64_t rows) {
  int64_t first = task * tile, end = first + tile;
  return {first, end < rows ? end : rows};
}

/// In memory, not in the instructions: shows that the data part of the image is found.
const float layerFactor[2] = {0.5f, 0.25f};
} // namespace

#define KERNEL extern "C" __attribute__((visibility("hidden"), used)) void

/// args: out [N, hidden], weight [vocabulary, hidden]. Tasks: tiles of rows.
KERNEL toy_embed(void *const *args, const StepView *step, void *, int64_t task) {
  auto *out = static_cast<float *>(args[0]);
  auto *weight = static_cast<const float *>(args[1]);
  Rows rows = rowsOf(task, step->tokens);
  for (int64_t row = rows.first; row < rows.end; ++row)
    for (int64_t i = 0; i < hidden; ++i)
      out[row * hidden + i] = weight[step->token[row] * hidden + i];
}

/// The same for single rows; leaves a mark, so that a test sees which variant ran. args: out, weight, mark
/// [1] i32.
KERNEL toy_embed_one(void *const *args, const StepView *step, void *scratch, int64_t task) {
  toy_embed(args, step, scratch, 0);
  *static_cast<int32_t *>(args[2]) += 1;
}

/// args: x [N, hidden], KV cache. Tasks: tokens.
KERNEL toy_store(void *const *args, const StepView *step, void *, int64_t task) {
  auto *x = static_cast<const float *>(args[0]) + task * hidden;
  int32_t position = step->position[task], sequence = step->tokenSequence[task];
  int64_t page = step->blockTable[sequence * step->maxPages + position / fusebox::kvPageTokens];
  auto *row = static_cast<float *>(args[1]) +
              (page * fusebox::kvPageTokens + position % fusebox::kvPageTokens) * hidden;
  for (int64_t i = 0; i < hidden; ++i)
    row[i] = x[i];
}

/// args: x [N, hidden], KV cache, weight [hidden], y [N, hidden]: y = x/2 + w/4 · (sum of all positions so
/// far). Sums in scratch. Tasks: tokens.
KERNEL toy_attend(void *const *args, const StepView *step, void *scratch, int64_t task) {
  auto *x = static_cast<const float *>(args[0]) + task * hidden;
  auto *pool = static_cast<const float *>(args[1]);
  auto *weight = static_cast<const float *>(args[2]);
  auto *y = static_cast<float *>(args[3]) + task * hidden;
  auto *sum = static_cast<float *>(scratch);
  const int32_t *pages = step->blockTable + step->tokenSequence[task] * step->maxPages;
  for (int64_t i = 0; i < hidden; ++i)
    sum[i] = 0;
  for (int64_t p = 0; p <= step->position[task]; ++p) {
    int64_t page = pages[p / fusebox::kvPageTokens];
    auto *row = pool + (page * fusebox::kvPageTokens + p % fusebox::kvPageTokens) * hidden;
    for (int64_t i = 0; i < hidden; ++i)
      sum[i] += row[i];
  }
  for (int64_t i = 0; i < hidden; ++i)
    y[i] = layerFactor[0] * x[i] + layerFactor[1] * weight[i] * sum[i];
}

/// args: y [N, hidden], x [N, hidden]. Tasks: tiles of rows.
KERNEL toy_copy(void *const *args, const StepView *step, void *, int64_t task) {
  Rows rows = rowsOf(task, step->tokens);
  for (int64_t i = rows.first * hidden; i < rows.end * hidden; ++i)
    static_cast<float *>(args[1])[i] = static_cast<const float *>(args[0])[i];
}

/// args: x [N, hidden], logits [R, vocabulary], bias [vocabulary] f32 (a constant). Tasks: logits rows.
KERNEL toy_logits(void *const *args, const StepView *step, void *, int64_t task) {
  auto *x = static_cast<const float *>(args[0]) + step->logitsRow[task] * hidden;
  auto *logits = static_cast<float *>(args[1]) + task * vocabulary;
  auto *bias = static_cast<const float *>(args[2]);
  for (int64_t v = 0; v < vocabulary; ++v)
    logits[v] = x[v % hidden] * (1 + v / hidden) + bias[v];
}

/// args: denormal [1] f32: halves the smallest normal number, which is 0 only where denormals are flushed.
KERNEL toy_denormal(void *const *args, const StepView *, void *, int64_t) {
  volatile float smallest = 1.17549435e-38f;
  *static_cast<float *>(args[0]) = smallest * 0.5f;
}
