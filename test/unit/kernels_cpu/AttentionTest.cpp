// kv_write and attention together, against a scalar softmax with the same rounding points; and a prompt in
// one piece against the same prompt in chunks, token by token and beside other sequences, bit for bit.
#include "test/unit/kernels_cpu/KernelHarness.h"
#include "test/unit/kernels_cpu/Reference.h"

#include <gtest/gtest.h>

using namespace fusebox;
using namespace fusebox::cpu;
using namespace fusebox::cpu::test;

namespace {

struct Shape {
  int64_t heads, kvHeads, headDim;
  DType type = DType::BF16;
  int64_t window = 0;
  double softcap = 0.0;
};

Fields attentionFields(const Shape &s) {
  return {{"heads", s.heads},
          {"kvHeads", s.kvHeads},
          {"headDim", s.headDim},
          {"type", int64_t(s.type)},
          {"scale", 1.0 / std::sqrt(double(s.headDim))},
          {"window", s.window},
          {"softcap", s.softcap},
          {"rounding", int64_t(0)}};
}

/// One sequence's inputs, and its output row by row.
struct Tokens {
  Shape shape;
  int64_t count;
  Tensor q, k, v;
  Tokens(const Shape &s, int64_t count, uint32_t seed = 1)
      : shape(s), count(count), q(randomTensor(s.type, count * s.heads * s.headDim, seed, 1.5f)),
        k(randomTensor(s.type, count * s.kvHeads * s.headDim, seed + 1, 1.5f)),
        v(randomTensor(s.type, count * s.kvHeads * s.headDim, seed + 2)) {}
};

/// Rows [first, first + count) of a tensor with `columns` columns.
void appendRows(Tensor &to, const Tensor &from, int64_t first, int64_t count, int64_t columns) {
  int64_t bytes = columns * blockSize(from.type).bytes;
  to.type = from.type;
  to.bytes.insert(to.bytes.end(), from.bytes.begin() + first * bytes,
                  from.bytes.begin() + (first + count) * bytes);
}

class Attention {
public:
  Attention(const Shape &s, const std::string &target, int64_t pages)
      : shape(s), write("kv_write",
                        {{"kvHeads", s.kvHeads}, {"headDim", s.headDim}, {"type", int64_t(s.type)}}, target),
        attend("attention", attentionFields(s), target),
        pool(zeros(s.type, pages * 2 * 64 * s.kvHeads * s.headDim)) {
    // Stale pages hold NaNs: nothing beyond a sequence's tokens may matter.
    std::fill(pool.bytes.begin(), pool.bytes.end(), 0xff);
  }

  /// One step: rows [first, first + tokens) of each sequence.
  Tensor step(const std::vector<const Tokens *> &sequences, const std::vector<Step::Sequence> &parts,
              int32_t maxPages, int variant = -1) {
    Tensor q, k, v;
    int64_t rows = 0;
    for (size_t s = 0; s < sequences.size(); ++s) {
      appendRows(q, sequences[s]->q, parts[s].firstPosition, parts[s].tokens, shape.heads * shape.headDim);
      appendRows(k, sequences[s]->k, parts[s].firstPosition, parts[s].tokens, shape.kvHeads * shape.headDim);
      appendRows(v, sequences[s]->v, parts[s].firstPosition, parts[s].tokens, shape.kvHeads * shape.headDim);
      rows += parts[s].tokens;
    }
    Step step(parts, maxPages);
    Tensor out = zeros(shape.type, rows * shape.heads * shape.headDim);
    write.run({pool.data(), k.data(), v.data()}, step);
    attend.run({out.data(), q.data(), pool.data()}, step, variant);
    return out;
  }

private:
  Shape shape;
  CompiledCpuKernel write, attend;
  Tensor pool;
};

/// Softmax over blocks of 64 keys in f64, with p rounded as sdpa rounds it.
std::vector<double> reference(const Tokens &tokens, int64_t row, int64_t head) {
  const Shape &s = tokens.shape;
  int64_t kvHead = head / (s.heads / s.kvHeads);
  std::vector<double> sums(s.headDim, 0.0);
  double maximum = -INFINITY, total = 0;
  int64_t first = s.window > 0 ? std::max<int64_t>(0, row - s.window + 1) : 0;
  for (int64_t block = first / 64; block <= row / 64; ++block) {
    std::vector<std::pair<int64_t, double>> scores;
    double before = maximum;
    for (int64_t key = std::max(first, block * 64); key <= std::min(row, block * 64 + 63); ++key) {
      double score = 0;
      for (int64_t d = 0; d < s.headDim; ++d)
        score += double(tokens.q[(row * s.heads + head) * s.headDim + d]) *
                 tokens.k[(key * s.kvHeads + kvHead) * s.headDim + d];
      score *= float(1.0 / std::sqrt(double(s.headDim)));
      if (s.softcap != 0)
        score = s.softcap * std::tanh(score / s.softcap);
      scores.emplace_back(key, score);
      maximum = std::max(maximum, score);
    }
    double rescale = std::exp(before - maximum);
    total *= rescale;
    for (double &sum : sums)
      sum *= rescale;
    for (auto [key, score] : scores) {
      double p = std::exp(score - maximum);
      total += p;
      for (int64_t d = 0; d < s.headDim; ++d)
        sums[d] += rounded(s.type, float(p)) * tokens.v[(key * s.kvHeads + kvHead) * s.headDim + d];
    }
  }
  for (double &sum : sums)
    sum /= total;
  return sums;
}

void checkAgainstReference(const Shape &s, int32_t count) {
  Tokens tokens(s, count);
  int32_t pages = (count + 63) / 64;
  std::vector<std::vector<double>> want;
  for (int64_t row = 0; row < count; ++row)
    for (int64_t head = 0; head < s.heads; ++head)
      want.push_back(reference(tokens, row, head));
  std::optional<Tensor> first;
  for (const std::string &target : runnableTargets()) {
    SCOPED_TRACE(target + " headDim " + std::to_string(s.headDim) + " heads " + std::to_string(s.heads));
    for (int variant : {0, 1}) {
      Attention attention(s, target, pages);
      Tensor out = attention.step({&tokens}, {{0, count}}, pages, variant);
      for (size_t i = 0; i < want.size(); ++i)
        for (int64_t d = 0; d < s.headDim; ++d)
          ASSERT_NEAR(out[i * s.headDim + d], want[i][d], s.type == DType::F32 ? 3e-6 : 0.012)
              << "row " << i / s.heads << " head " << i % s.heads << " dim " << d;
      if (first) {
        ASSERT_EQ(first->bytes, out.bytes) << "variant " << variant;
      }
      first = out;
    }
  }
}

} // namespace

TEST(Attention, IsSoftmaxOverTheCausalKeys) {
  checkAgainstReference({.heads = 9, .kvHeads = 3, .headDim = 64}, 133);
  checkAgainstReference({.heads = 2, .kvHeads = 1, .headDim = 64, .type = DType::F32}, 70);
}

TEST(Attention, TakesHeadsOfAnySizeAndNumber) {
  checkAgainstReference({.heads = 1, .kvHeads = 1, .headDim = 16}, 67);
  checkAgainstReference({.heads = 4, .kvHeads = 4, .headDim = 40}, 65);
  checkAgainstReference({.heads = 8, .kvHeads = 1, .headDim = 256}, 5);
  checkAgainstReference({.heads = 3, .kvHeads = 3, .headDim = 22, .type = DType::F32}, 66);
}

TEST(Attention, HonoursWindowAndSoftcap) {
  checkAgainstReference({.heads = 2, .kvHeads = 1, .headDim = 32, .window = 50, .softcap = 2.0}, 200);
  checkAgainstReference({.heads = 2, .kvHeads = 2, .headDim = 16, .type = DType::F32, .window = 1}, 66);
}

TEST(Attention, DoesNotDependOnHowAPromptIsCut) {
  Shape s = {.heads = 6, .kvHeads = 2, .headDim = 32};
  constexpr int32_t count = 150, pages = 3;
  const int64_t columns = s.heads * s.headDim;
  Tokens tokens(s, count), other(s, count, 77);
  for (const std::string &target : runnableTargets()) {
    Tensor whole = Attention(s, target, pages).step({&tokens}, {{0, count}}, pages);
    for (int32_t chunk : {1, 7, 64, 100}) {
      Attention attention(s, target, pages);
      Tensor out;
      for (int32_t first = 0; first < count; first += chunk) {
        int32_t n = std::min(chunk, count - first);
        appendRows(out, attention.step({&tokens}, {{first, n}}, pages), 0, n, columns);
      }
      ASSERT_EQ(out.bytes, whole.bytes) << target << " in chunks of " << chunk;
    }
    // Beside another sequence that is somewhere else.
    Attention attention(s, target, 2 * pages);
    Tensor out;
    int32_t cuts[] = {0, 3, 90, count};
    for (int part = 0; part < 3; ++part) {
      int32_t n = cuts[part + 1] - cuts[part];
      Tensor both = attention.step({&other, &tokens}, {{part * 40, 40}, {cuts[part], n}}, pages);
      appendRows(out, both, 40, n, columns);
    }
    ASSERT_EQ(out.bytes, whole.bytes) << target << " beside another sequence";
  }
}
