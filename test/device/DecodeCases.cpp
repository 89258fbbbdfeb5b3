// A whole decode step of published shapes with random weights, as one captured graph: time a token beside the
// floor, and the share of each kind of kernel.
#include "test/device/ModelShapes.h"

#include <cstdio>
#include <cstring>
#include <random>

namespace fusebox::gputest {

void fillRandom(Gpu &gpu, const Memory &memory) {
  static std::vector<uint32_t> pattern;
  if (pattern.empty()) {
    std::mt19937 engine(7);
    pattern.resize(size_t(4) << 20);
    for (uint32_t &v : pattern) {
      uint32_t r = uint32_t(engine()); // sign and mantissa at random, exponents of 2^-7 to 2^-4
      v = (r & 0x807f807fu) | (0x3c003c00u + ((r >> 7) & 0x01800180u));
    }
  }
  size_t bytes = pattern.size() * 4, first = std::min(memory.bytes, bytes);
  gpu.copyToDevice(memory.address, pattern.data(), first);
  for (size_t at = first; at < memory.bytes; at += first)
    gpu.copyOnDevice(memory.address + at, memory.address, std::min(first, memory.bytes - at));
}

namespace {

/// The memory and the launches of a decode step.
struct DecodeStep {
  Gpu &gpu;
  const ModelShape &m;
  int rows, context, pages;
  Memory weights, x, normed, q, k, v, normedQ, attended, gated, kv, angleTable, logitsOut, groups, chosen;
  Memory gains, frequencies, loopTable;
  size_t layerBytes, poolBytes;
  DeviceStep step;

  size_t qColumns() const { return size_t(m.heads) * m.headDim; }
  size_t kvColumns() const { return size_t(m.kvHeads) * m.headDim; }

  DecodeStep(Gpu &gpu, const ModelShape &m, int rows, int context)
      : gpu(gpu), m(m), rows(rows), context(context) {
    pages = (context + 63) / 64;
    layerBytes = 2 * m.hidden * (2 * qColumns() + 2 * kvColumns() + 3 * size_t(m.intermediate));
    poolBytes = size_t(rows) * pages * 64 * 2 * kvColumns() * 2;
    size_t r = size_t(rows);
    weights = gpu.allocate(layerBytes * size_t(m.layers) + size_t(m.vocabulary) * m.hidden * 2);
    kv = gpu.allocate(poolBytes * size_t(m.layers));
    gains = gpu.allocate(65536);
    frequencies = gpu.allocate(4096);
    for (Memory *memory : {&weights, &kv, &gains, &frequencies})
      fillRandom(gpu, *memory);
    x = gpu.allocate(r * m.hidden * 2), normed = gpu.allocate(r * m.hidden * 2);
    q = gpu.allocate(r * qColumns() * 2), normedQ = gpu.allocate(r * qColumns() * 2),
    attended = gpu.allocate(r * qColumns() * 2);
    k = gpu.allocate(r * kvColumns() * 2), v = gpu.allocate(r * kvColumns() * 2);
    gated = gpu.allocate(r * m.intermediate * 2), angleTable = gpu.allocate(r * m.headDim * 4);
    logitsOut = gpu.allocate(r * m.vocabulary * 4);
    groups = gpu.allocate(r * (size_t(m.vocabulary) / 4 + 65536)), chosen = gpu.allocate(r * 64);
    std::vector<int> tokens, positions, sequences;
    for (int b = 0; b < rows; ++b)
      tokens.push_back(b * 37 % m.vocabulary), positions.push_back(context - 1), sequences.push_back(b);
    step = gpu.step(tokens, positions, sequences, pages);
    // A single chosen id is the next replay's token, as in generation: it stands behind the sum, the number
    // and the logit.
    if (rows == 1)
      step.view.token = reinterpret_cast<const int32_t *>(chosen.address + 12);
    gpu.fill(chosen, 0);
  }

  struct Layer {
    cuda::DevicePtr wq, wk, wv, wo, wg, wu, wd, pool;
  };
  Layer layerAt(int l) const {
    cuda::DevicePtr w = weights.address + layerBytes * size_t(l);
    auto matrix = [&](size_t out, size_t in) {
      cuda::DevicePtr at = w;
      w += out * in * 2;
      return at;
    };
    size_t hidden = size_t(m.hidden), inner = size_t(m.intermediate);
    return {matrix(qColumns(), hidden),  matrix(kvColumns(), hidden),
            matrix(kvColumns(), hidden), matrix(hidden, qColumns()),
            matrix(inner, hidden),       matrix(inner, hidden),
            matrix(hidden, inner),       kv.address + poolBytes * size_t(l)};
  }

  void layer(int l, unsigned parts) {
    auto [wq, wk, wv, wo, wg, wu, wd, pool] = layerAt(l);
    cuda::DevicePtr gain = gains.address;
    unsigned sm = gpu.multiprocessors;
    if (parts & 1)
      gpu.launch(queryKeyValue(m, rows, sm), {q.address, k.address, v.address, x.address, wq, wk, wv, gain},
                 step.view);
    if (parts & 2)
      gpu.launch(prepareHeads(m),
                 {normedQ.address, pool, q.address, k.address, v.address, angleTable.address, gain, gain},
                 step.view);
    if (parts & 4)
      gpu.launch(decodeAttention(m, rows * context), {attended.address, normedQ.address, pool}, step.view);
    if (parts & 8)
      gpu.launch(attentionOutput(m, rows, sm), {x.address, attended.address, wo, x.address}, step.view);
    if (parts & 16)
      gpu.launch(gateUp(m, rows, sm), {gated.address, x.address, wg, wu, gain}, step.view);
    if (parts & 32)
      gpu.launch(down(m, rows, sm), {x.address, gated.address, wd, x.address}, step.view);
  }

  /// All layers as one launch.
  void loop(const cuda::KernelRequest &kernel) {
    if (!loopTable.address) {
      std::vector<cuda::DevicePtr> table;
      cuda::DevicePtr gain = gains.address;
      for (int l = 0; l < m.layers; ++l) {
        Layer a = layerAt(l);
        table.insert(table.end(), {x.address, x.address, angleTable.address,
                                   a.pool,    a.wq,      a.wk,
                                   a.wv,      gain,      0,
                                   0,         0,         gain,
                                   gain,      a.wo,      0,
                                   a.wg,      a.wu,      gain,
                                   a.wd,      0});
      }
      loopTable = gpu.upload(table);
    }
    gpu.launch(kernel, {loopTable.address}, step.view);
  }

  /// The whole step; of the layers those parts whose bits are set.
  void record(unsigned parts = 127, const cuda::KernelRequest *oneLaunch = nullptr) {
    cuda::DevicePtr table = weights.address + layerBytes * size_t(m.layers);
    gpu.launch(angles(m), {angleTable.address, frequencies.address}, step.view);
    gpu.launch(embedding(m), {x.address, table}, step.view);
    if (oneLaunch)
      loop(*oneLaunch);
    else
      for (int l = 0; l < m.layers; ++l)
        layer(l, parts);
    if (!(parts & 64))
      return;
    gpu.launch(finalNorm(m), {normed.address, x.address, gains.address}, step.view);
    gpu.launch(logits(m, rows), {logitsOut.address, normed.address, table}, step.view);
    gpu.launch(largestGroups(m), {groups.address, logitsOut.address}, step.view);
    gpu.launch(largest(m, 1), {chosen.address, groups.address, logitsOut.address}, step.view);
  }
};

std::vector<cuda::KernelRequest> decodeKernels(const ModelShape &m, int rows, int context,
                                               unsigned multiprocessors) {
  return {angles(m),
          embedding(m),
          queryKeyValue(m, rows, multiprocessors),
          prepareHeads(m),
          decodeAttention(m, rows * context),
          attentionOutput(m, rows, multiprocessors),
          gateUp(m, rows, multiprocessors),
          down(m, rows, multiprocessors),
          finalNorm(m),
          logits(m, rows),
          largestGroups(m),
          largest(m, 1)};
}

Case decodeCase(const ModelShape &m, int rows, int context, unsigned multiprocessors) {
  std::string name =
      std::string(m.name) + " decode, " + std::to_string(rows) + " x " + std::to_string(context);
  return {name, decodeKernels(m, rows, context, multiprocessors), [&m, rows, context, name](Gpu &gpu) {
            DecodeStep step(gpu, m, rows, context);
            double bytes = weightBytes(m) + double(rows) * context * m.layers * 2 * m.kvHeads * m.headDim * 2;
            double floor = bytes / measuredBandwidth * 1e3;
            auto time = [&](unsigned parts) { return gpu.timeGraph(name, [&] { step.record(parts); }, 20); };
            double all = time(127);
            std::string split;
            if (rows == 1) {
              const char *names[] = {"qkv", "heads", "attention", "o", "gate-up", "down", "logits"};
              for (unsigned p = 0; p < 7; ++p) {
                char part[48];
                std::snprintf(part, sizeof part, " %s %.0f", names[p], 1e3 * (all - time(127u & ~(1u << p))));
                split += part;
              }
            }
            gpu.dependentLaunch = false;
            double plain = time(127);
            gpu.dependentLaunch = true;
            char text[256];
            std::snprintf(
                text, sizeof text, "%.4f ms, %.2f x floor (%.4f); launched one after the other %.4f ms%s%s",
                all, all / floor, floor, plain, split.empty() ? "" : "; us saved without:", split.c_str());
            return Outcome{true, text};
          }};
}

/// All layers in one launch: by itself and within a step.
Case loopCase(const ModelShape &m, int context, const cuda::KernelRequest &loop, unsigned multiprocessors) {
  std::string name = std::string(m.name) + " all layers in one launch, 1 x " + std::to_string(context);
  std::vector<cuda::KernelRequest> kernels = decodeKernels(m, 1, context, multiprocessors);
  kernels.push_back(loop);
  return {name, kernels, [&m, context, name, loop](Gpu &gpu) {
            DecodeStep step(gpu, m, 1, context);
            double kvBytes = double(context) * m.layers * 2 * m.kvHeads * m.headDim * 2,
                   layerBytes = double(step.layerBytes) * m.layers + kvBytes,
                   floor = (weightBytes(m) + kvBytes) / measuredBandwidth * 1e3;
            double layers = gpu.timeGraph(
                       name, [&] { step.loop(loop); }, 20),
                   all = gpu.timeGraph(name, [&] { step.record(127, &loop); }, 20);
            char text[256];
            std::snprintf(
                text, sizeof text,
                "%.4f ms, %.2f us a layer, %.1f%% of bandwidth; whole step %.4f ms, %.2f x floor (%.4f)",
                layers, 1e3 * layers / m.layers, 100 * layerBytes / layers * 1e3 / measuredBandwidth, all,
                all / floor, floor);
            return Outcome{true, text};
          }};
}

} // namespace

void addDecodeCases(std::vector<Case> &cases, const std::string &chip, unsigned multiprocessors) {
  for (const ModelShape &model : modelShapes)
    cases.push_back(decodeCase(model, 1, 128, multiprocessors));
  // Where there is such a kernel, and room for all its blocks.
  const cuda::Chip *known = cuda::findChip(chip);
  if (known && multiprocessors >= known->multiprocessors)
    for (const ModelShape &model : modelShapes) {
      cuda::KernelRequest loop = decodeLoop(model, layerKernels(model, known->multiprocessors), *known);
      if (!loop.shape.empty())
        for (int context : {120, 2000})
          cases.push_back(loopCase(model, context, loop, multiprocessors));
    }
  cases.push_back(decodeCase(modelShapes[0], 1, 4096, multiprocessors));
  for (int rows : {4, 8, 16})
    cases.push_back(decodeCase(modelShapes[0], rows, 128, multiprocessors));
}

} // namespace fusebox::gputest
