// norm, rope_angles, rope, kv_write and the merged prepare_heads; the merged kernel must give the same bits
// as the separate ones.
#include "test/device/Reference.h"

#include <cstring>

namespace fusebox::gputest {

namespace {

using cuda::KernelRequest;

KernelRequest normRequest(int columns, int groups, bool roundNormalised, bool onePlus) {
  return {"norm",
          {{"columns", columns},
           {"groups", groups},
           {"type", 3},
           {"gainType", 3},
           {"roundNormalised", roundNormalised},
           {"onePlus", onePlus},
           {"eps", 1e-6}}};
}

Case normCase(const char *name, int columns, int groups, bool roundNormalised, bool onePlus) {
  KernelRequest kernel = normRequest(columns, groups, roundNormalised, onePlus);
  return {name, {kernel}, [=](Gpu &gpu) {
            const int rows = 7;
            std::vector<uint16_t> x = randomBf16(size_t(rows) * groups * columns, 1),
                                  gain = randomBf16(size_t(columns), 2, 0.3, 1);
            Memory in = gpu.upload(x), gains = gpu.upload(gain), out = gpu.allocate(x.size() * 2);
            gpu.fill(out, 0xff);
            std::vector<int> zeros(rows, 0);
            DeviceStep step = gpu.step(zeros, zeros, zeros, 1);
            gpu.launch(kernel, {out.address, in.address, gains.address}, step.view);
            gpu.synchronise(name);
            std::vector<uint16_t> got = gpu.download<uint16_t>(out, x.size());
            Comparison comparison;
            for (int g = 0; g < rows * groups; ++g) {
              std::vector<double> row;
              for (int k = 0; k < columns; ++k)
                row.push_back(bf16Value(x[size_t(g) * columns + k]));
              row = referenceNorm(row.data(), gain.data(), columns, 1e-6, roundNormalised, onePlus);
              for (int k = 0; k < columns; ++k)
                comparison.add(bf16Value(got[size_t(g) * columns + k]), row[size_t(k)], 1e-6);
            }
            return comparison.outcome();
          }};
}

struct Heads {
  const char *name;
  int heads, kvHeads, headDim, rotaryDim;
  bool interleaved, norm, roundProducts;
  int anglesType;
};

cuda::Shape headShape(const Heads &h) {
  return {{"heads", h.heads},
          {"kvHeads", h.kvHeads},
          {"headDim", h.headDim},
          {"norm", h.norm},
          {"type", 3},
          {"roundNormalised", 1},
          {"gainType", 3},
          {"columns", h.headDim},
          {"groups", 1},
          {"rotaryDim", h.rotaryDim},
          {"interleaved", h.interleaved},
          {"anglesType", h.anglesType},
          {"roundProducts", h.roundProducts},
          {"eps", 1e-6}};
}

KernelRequest ropeRequest(const Heads &h, int heads) {
  cuda::Shape shape = headShape(h);
  shape["heads"] = heads;
  shape["kvHeads"] = 0;
  return {"rope", shape};
}

/// Separate kernels, then the merged one, on the same input; compares bits, and the rotation with f64.
Outcome runHeads(Gpu &gpu, const Heads &h, const std::vector<KernelRequest> &kernels) {
  const int rows = 5, maxPages = 3, half = h.rotaryDim / 2;
  std::vector<int> positions = {0, 63, 64, 130, 1}, sequences = {0, 1, 1, 1, 2}, tokens(rows, 0);
  size_t qSize = size_t(rows) * h.heads * h.headDim, kSize = size_t(rows) * h.kvHeads * h.headDim;
  size_t poolSize = size_t(3) * maxPages * 2 * h.kvHeads * 64 * h.headDim;
  std::vector<uint16_t> q = randomBf16(qSize, 1), k = randomBf16(kSize, 2), v = randomBf16(kSize, 3);
  std::vector<uint16_t> gains[2] = {randomBf16(size_t(h.headDim), 4, 0.3, 1),
                                    randomBf16(size_t(h.headDim), 5, 0.3, 1)};
  std::vector<float> frequencies;
  for (int j = 0; j < half; ++j)
    frequencies.push_back(float(std::pow(10000.0, -double(j) / half)));
  Memory dq = gpu.upload(q), dk = gpu.upload(k), dv = gpu.upload(v), gq = gpu.upload(gains[0]),
         gk = gpu.upload(gains[1]);
  Memory df = gpu.upload(frequencies), angles = gpu.allocate(size_t(rows) * half * 2 * 4);
  Memory nq = gpu.allocate(qSize * 2), nk = gpu.allocate(kSize * 2), rq = gpu.allocate(qSize * 2),
         rk = gpu.allocate(kSize * 2);
  Memory mq = gpu.allocate(qSize * 2), pool = gpu.allocate(poolSize * 2),
         mergedPool = gpu.allocate(poolSize * 2);
  for (Memory *memory : {&rq, &mq})
    gpu.fill(*memory, 0xff);
  gpu.fill(pool, 0);
  gpu.fill(mergedPool, 0);
  DeviceStep step = gpu.step(tokens, positions, sequences, maxPages);
  gpu.launch(kernels[0], {angles.address, df.address}, step.view);
  if (h.norm) {
    gpu.launch(kernels[5], {nq.address, dq.address, gq.address}, step.view);
    gpu.launch(kernels[6], {nk.address, dk.address, gk.address}, step.view);
  }
  cuda::DevicePtr qIn = h.norm ? nq.address : dq.address, kIn = h.norm ? nk.address : dk.address;
  gpu.launch(kernels[1], {rq.address, qIn, angles.address}, step.view);
  gpu.launch(kernels[2], {rk.address, kIn, angles.address}, step.view);
  gpu.launch(kernels[3], {pool.address, rk.address, dv.address}, step.view);
  gpu.launch(kernels[4],
             {mq.address, mergedPool.address, dq.address, dk.address, dv.address, angles.address, gq.address,
              gk.address},
             step.view);
  gpu.synchronise(h.name);
  bool same = gpu.download<uint16_t>(rq, qSize) == gpu.download<uint16_t>(mq, qSize) &&
              gpu.download<uint16_t>(pool, poolSize) == gpu.download<uint16_t>(mergedPool, poolSize);

  std::vector<uint16_t> input(qSize), got = gpu.download<uint16_t>(rq, qSize);
  gpu.copyToHost(input.data(), qIn, qSize * 2);
  Comparison comparison;
  auto product = [&](double a, double b) { return h.roundProducts ? roundedBf16(a * b) : a * b; };
  for (int row = 0; row < rows; ++row)
    for (int head = 0; head < h.heads; ++head)
      for (int j = 0; j < half; ++j) {
        size_t base = (size_t(row) * h.heads + head) * h.headDim;
        size_t first = base + size_t(h.interleaved ? 2 * j : j),
               second = base + size_t(h.interleaved ? 2 * j + 1 : j + half);
        double angle = double(float(positions[size_t(row)]) * frequencies[size_t(j)]),
               x = bf16Value(input[first]), y = bf16Value(input[second]);
        double cosine = std::cos(angle), sine = std::sin(angle);
        if (h.anglesType == 3)
          cosine = roundedBf16(cosine), sine = roundedBf16(sine);
        comparison.add(bf16Value(got[first]), product(x, cosine) - product(y, sine), 0.04);
        comparison.add(bf16Value(got[second]), product(y, cosine) + product(x, sine), 0.04);
      }
  Outcome outcome = comparison.outcome(same ? "merged = separate" : "MERGED KERNEL DIFFERS");
  outcome.passed = outcome.passed && same;
  return outcome;
}

constexpr Heads headForms[] = {
    {"heads 16/8 of 128, norm, half-split", 16, 8, 128, 128, false, true, true, 3},
    {"heads 32/4 of 64, half-split", 32, 4, 64, 64, false, false, true, 3},
    {"heads 6/3 of 16, half-split", 6, 3, 16, 16, false, false, true, 3},
    {"heads 16/2 of 128, interleaved, f32", 16, 2, 128, 128, true, false, false, 1},
    {"heads 4/1 of 32, norm, half rotated", 4, 1, 32, 16, false, true, false, 1},
};

} // namespace

void addNormCases(std::vector<Case> &cases) {
  cases.push_back(normCase("norm 1024", 1024, 1, true, false));
  cases.push_back(normCase("norm 96", 96, 1, true, false));
  cases.push_back(normCase("norm 5001, gain 1 + g, rounded once", 5001, 1, false, true));
  cases.push_back(normCase("norm of 3 heads of 128", 128, 3, true, false));
}

void addHeadCases(std::vector<Case> &cases) {
  for (const Heads &h : headForms) {
    std::vector<KernelRequest> kernels = {
        {"rope_angles", {{"half", h.rotaryDim / 2}, {"outType", h.anglesType}, {"attentionFactor", 1}}},
        ropeRequest(h, h.heads),
        ropeRequest(h, h.kvHeads),
        {"kv_write", {{"kvHeads", h.kvHeads}, {"headDim", h.headDim}, {"type", 3}}},
        {"prepare_heads", headShape(h)}};
    if (h.norm) {
      kernels.push_back(normRequest(h.headDim, h.heads, true, false));
      kernels.push_back(normRequest(h.headDim, h.kvHeads, true, false));
    }
    cases.push_back({h.name, kernels, [&h, kernels](Gpu &gpu) { return runHeads(gpu, h, kernels); }});
  }
}

} // namespace fusebox::gputest
