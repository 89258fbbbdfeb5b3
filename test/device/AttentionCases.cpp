// Attention over the paged cache against f64; bits of a token whatever the batch and the grid.
#include "test/device/Reference.h"

#include <cstring>

namespace fusebox::gputest {

namespace {

using cuda::KernelRequest;

struct Attention {
  const char *name;
  int heads, kvHeads, headDim, window;
  double softcap;
  std::vector<int> positions;
};

KernelRequest decodeRequest(const Attention &a) {
  return {"attention_decode",
          {{"heads", a.heads},
           {"kvHeads", a.kvHeads},
           {"headDim", a.headDim},
           {"type", 3},
           {"window", a.window},
           {"scale", 1 / std::sqrt(a.headDim)},
           {"softcap", a.softcap}}};
}

struct AttentionData {
  const Attention &form;
  int rows, maxPages;
  std::vector<uint16_t> q, pool;

  explicit AttentionData(const Attention &form) : form(form), rows(int(form.positions.size())) {
    maxPages = 1 + *std::max_element(form.positions.begin(), form.positions.end()) / 64;
    q = randomBf16(size_t(rows) * form.heads * form.headDim, 1, 2);
    pool = randomBf16(size_t(rows) * maxPages * 2 * form.kvHeads * 64 * form.headDim, 2);
  }

  size_t element(int sequence, int head, int key, bool value, int column) const {
    size_t page = size_t(sequence) * maxPages + size_t(key) / 64;
    return ((page * 2 + value) * form.kvHeads + size_t(head)) * 64 * form.headDim +
           size_t(key) % 64 * form.headDim + cachedColumn(form.headDim, key, column);
  }

  /// Result of one head in f64 (no rounding inside).
  std::vector<double> reference(int row, int head) const {
    int position = form.positions[size_t(row)], kvHead = head / (form.heads / form.kvHeads);
    int first = form.window ? std::max(0, position + 1 - form.window) : 0;
    std::vector<double> scores, out(size_t(form.headDim), 0);
    double top = -INFINITY, sum = 0;
    for (int key = first; key <= position; ++key) {
      double s = 0;
      for (int d = 0; d < form.headDim; ++d)
        s += bf16Value(q[(size_t(row) * form.heads + head) * form.headDim + d]) *
             bf16Value(pool[element(row, kvHead, key, false, d)]);
      s /= std::sqrt(form.headDim);
      if (form.softcap > 0)
        s = form.softcap * std::tanh(s / form.softcap);
      scores.push_back(s);
      top = std::max(top, s);
    }
    for (int key = first; key <= position; ++key) {
      double p = std::exp(scores[size_t(key - first)] - top);
      sum += p;
      for (int d = 0; d < form.headDim; ++d)
        out[size_t(d)] += p * bf16Value(pool[element(row, kvHead, key, true, d)]);
    }
    for (double &v : out)
      v /= sum;
    return out;
  }

  /// Runs the given rows (each its own sequence) in one step.
  std::vector<uint16_t> run(Gpu &gpu, const KernelRequest &kernel, const std::vector<int> &which,
                            unsigned blocks) const {
    std::vector<uint16_t> queries;
    std::vector<int> positions, sequences, zeros(which.size(), 0);
    size_t row = size_t(form.heads) * form.headDim;
    for (int r : which) {
      queries.insert(queries.end(), q.begin() + ptrdiff_t(r * row), q.begin() + ptrdiff_t((r + 1) * row));
      positions.push_back(form.positions[size_t(r)]);
      sequences.push_back(r);
    }
    Memory in = gpu.upload(queries), kv = gpu.upload(pool), out = gpu.allocate(queries.size() * 2);
    gpu.fill(out, 0xff);
    DeviceStep step = gpu.step(zeros, positions, sequences, maxPages);
    for (int repeat = 0; repeat < 2; ++repeat) // the second run shows that the counters were left at zero
      gpu.launch(kernel, {out.address, in.address, kv.address}, step.view, blocks);
    gpu.synchronise(form.name);
    return gpu.download<uint16_t>(out, queries.size());
  }
};

/// Both kernels, whole and row by row: all bits are equal.
Outcome runDecode(Gpu &gpu, const Attention &form, const KernelRequest &kernel, const KernelRequest &stream) {
  AttentionData data(form);
  std::vector<int> all;
  for (int r = 0; r < data.rows; ++r)
    all.push_back(r);
  std::vector<uint16_t> out = data.run(gpu, kernel, all, 0);
  Comparison comparison;
  for (int r = 0; r < data.rows; ++r)
    for (int head = 0; head < form.heads; ++head) {
      std::vector<double> want = data.reference(r, head);
      for (int d = 0; d < form.headDim; ++d) // P is rounded to bf16: an error of 2^-9 of the values' spread
        comparison.add(bf16Value(out[(size_t(r) * form.heads + head) * form.headDim + d]), want[size_t(d)],
                       0x1p-7);
    }
  bool same = data.run(gpu, stream, all, 0) == out;
  for (unsigned blocks : {7u, 3000u}) // the second: more than the GPU holds at once
    same = same && data.run(gpu, stream, all, blocks) == out;
  size_t row = size_t(form.heads) * form.headDim * 2;
  for (int r = 0; r < data.rows; ++r)
    for (const KernelRequest &alone : {kernel, stream})
      same = same && !std::memcmp(data.run(gpu, alone, {r}, unsigned(1 + 5 * r)).data(),
                                  reinterpret_cast<char *>(out.data()) + r * row, row);
  Outcome outcome =
      comparison.outcome(same ? "same bits by both kernels, alone and on other grids" : "BITS DIFFER");
  outcome.passed = outcome.passed && same;
  return outcome;
}

const Attention decodeForms[] = {
    {"decode attention 16/8 of 128", 16, 8, 128, 0, 0, {0, 31, 63, 64, 255, 256, 1000}},
    {"decode attention 32/4 of 64", 32, 4, 64, 0, 0, {5, 300, 2047}},
    {"decode attention 4/2 of 128, 20,000 tokens", 4, 2, 128, 0, 0, {8191, 8192, 20000}},
    {"decode attention 16/2 of 128", 16, 2, 128, 0, 0, {127, 700}},
    {"decode attention 24/2 of 64, window 200, cap", 24, 2, 64, 200, 30, {10, 199, 200, 900}},
};

} // namespace

void addAttentionCases(std::vector<Case> &cases) {
  for (const Attention &form : decodeForms) {
    KernelRequest kernel = decodeRequest(form);
    KernelRequest stream = {"attention_stream",
                            cuda::attentionStreamShapeFor(kernel.shape, *cuda::findChip("sm_90a"))};
    cases.push_back({form.name, {kernel, stream}, [&form, kernel, stream](Gpu &gpu) {
                       return runDecode(gpu, form, kernel, stream);
                     }});
  }
}

} // namespace fusebox::gputest
