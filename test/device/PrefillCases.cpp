// linear_tile and attention_prefill against f64; the same bits for any number of rows and any cut of the
// prompt; speed.
#include "test/device/ModelShapes.h"
#include "test/device/Reference.h"

#include <cstring>

namespace fusebox::gputest {

namespace {

using cuda::KernelRequest;

KernelRequest tileRequest(int in, int out, bool bias, int outType) {
  return {"linear_tile",
          {{"in", in}, {"out", out}, {"hasBias", bias}, {"biasType", 3}},
          roundedSum(/*asF32=*/outType == 1)};
}

template <class W>
std::vector<uint16_t> runTile(Gpu &gpu, const KernelRequest &kernel, const std::vector<uint16_t> &x,
                              const std::vector<W> &weight, const std::vector<uint16_t> &bias, int first,
                              int rows) {
  size_t in = size_t(cuda::shapeInteger(kernel.shape, "in")),
         out = size_t(cuda::shapeInteger(kernel.shape, "out"));
  Memory dx = gpu.upload(
      std::vector<uint16_t>(x.begin() + ptrdiff_t(first * in), x.begin() + ptrdiff_t((first + rows) * in)));
  Memory dw = gpu.upload(weight), db = gpu.upload(bias), result = gpu.allocate(size_t(rows) * out * 2);
  gpu.fill(result, 0xff);
  std::vector<int> zeros(size_t(rows), 0);
  DeviceStep step = gpu.step(zeros, zeros, zeros, 1);
  gpu.launch(kernel, {result.address, dx.address, dw.address, db.address}, step.view);
  gpu.synchronise("linear_tile");
  return gpu.download<uint16_t>(result, size_t(rows) * out);
}

Case tileCase(const char *name, int rows, int in, int out, bool bias) {
  KernelRequest kernel = tileRequest(in, out, bias, 3);
  return {name, {kernel}, [=](Gpu &gpu) {
            std::vector<uint16_t> x = randomBf16(size_t(rows) * in, 1),
                                  weight = randomBf16(size_t(out) * in, 2, 1 / std::sqrt(in));
            std::vector<uint16_t> biases = randomBf16(size_t(out), 3),
                                  got = runTile(gpu, kernel, x, weight, biases, 0, rows);
            Comparison comparison;
            for (int r = 0; r < rows; r += 1 + r % 3)
              for (int o = 0; o < out; o += 1 + o % 5) {
                double sum = bias ? bf16Value(biases[size_t(o)]) : 0;
                for (int k = 0; k < in; ++k)
                  sum += bf16Value(x[size_t(r) * in + k]) * bf16Value(weight[size_t(o) * in + k]);
                comparison.add(bf16Value(got[size_t(r) * out + o]), sum, 1e-2);
              }
            std::vector<uint16_t> part = runTile(gpu, kernel, x, weight, biases, rows / 2, rows - rows / 2);
            bool same = !std::memcmp(part.data(), got.data() + size_t(rows / 2) * out, part.size() * 2);
            Outcome outcome = comparison.outcome(same ? "same bits in another step" : "BITS DIFFER");
            outcome.passed = outcome.passed && same;
            return outcome;
          }};
}

/// GGUF blocks of random numbers, and what they stand for.
struct RandomBlocks {
  std::vector<uint8_t> bytes;
  std::vector<double> values;

  RandomBlocks(DType type, size_t count) {
    std::mt19937 engine(7);
    auto half = [&](double value) {
      uint16_t bits = f32ToF16(float(value));
      bytes.push_back(uint8_t(bits));
      bytes.push_back(uint8_t(bits >> 8));
      return double(f16ToF32(bits));
    };
    for (size_t block = 0; block < count / 32; ++block) {
      double scale = half(0.001 + 1e-6 * double(engine() % 1000)),
             least = type == DType::Q4_1 ? half(-0.004 + 1e-6 * double(engine() % 1000)) : 0;
      size_t stored = type == DType::Q8_0 ? 32 : 16;
      std::vector<uint8_t> quants(stored);
      for (uint8_t &q : quants)
        q = uint8_t(engine());
      for (size_t i = 0; i < 32; ++i) {
        int q = type == DType::Q8_0 ? int8_t(quants[i]) : i < 16 ? quants[i] & 15 : quants[i - 16] >> 4;
        values.push_back(scale * (type == DType::Q4_0 ? q - 8 : q) + least);
      }
      bytes.insert(bytes.end(), quants.begin(), quants.end());
    }
  }
};

Case blocksCase(const char *name, DType type, int rows, int in, int out) {
  KernelRequest kernel = tileRequest(in, out, false, 3);
  kernel.symbol = "linear_tile_blocks";
  kernel.shape["weightType"] = double(type);
  return {name, {kernel}, [=](Gpu &gpu) {
            std::vector<uint16_t> x = randomBf16(size_t(rows) * in, 1);
            RandomBlocks weight(type, size_t(out) * in);
            std::vector<uint16_t> got = runTile(gpu, kernel, x, weight.bytes, {}, 0, rows);
            Comparison comparison;
            for (int r = 0; r < rows; r += 1 + r % 3)
              for (int o = 0; o < out; o += 1 + o % 5) {
                double sum = 0;
                for (int k = 0; k < in; ++k)
                  sum += bf16Value(x[size_t(r) * in + k]) * weight.values[size_t(o) * in + k];
                comparison.add(bf16Value(got[size_t(r) * out + o]), sum, 1e-2);
              }
            std::vector<uint16_t> part = runTile(gpu, kernel, x, weight.bytes, {}, rows / 2, rows - rows / 2);
            bool same = !std::memcmp(part.data(), got.data() + size_t(rows / 2) * out, part.size() * 2);
            Outcome outcome = comparison.outcome(same ? "same bits in another step" : "BITS DIFFER");
            outcome.passed = outcome.passed && same;
            return outcome;
          }};
}

struct PrefillForm {
  const char *name;
  int heads, kvHeads, headDim, window;
  double softcap;
  int tokens;
};

/// Two sequences with known caches: the prompt, and a shorter one before it in the step.
struct PrefillRun {
  const PrefillForm &form;
  KernelRequest kernel;
  int pages;
  std::vector<uint16_t> q, pool;

  PrefillRun(const PrefillForm &form, KernelRequest kernel) : form(form), kernel(std::move(kernel)) {
    pages = (form.tokens + 63) / 64;
    q = randomBf16(size_t(form.tokens) * form.heads * form.headDim, 1, 2);
    pool = randomBf16(size_t(2) * pages * 2 * form.kvHeads * 64 * form.headDim, 2);
  }

  /// Tokens [begin, end) of the prompt as sequence 1, behind 5 tokens of sequence 0.
  std::vector<uint16_t> run(Gpu &gpu, int begin, int end) const {
    size_t row = size_t(form.heads) * form.headDim;
    std::vector<uint16_t> queries(q.begin(), q.begin() + ptrdiff_t(5 * row));
    queries.insert(queries.end(), q.begin() + ptrdiff_t(begin * row), q.begin() + ptrdiff_t(end * row));
    std::vector<int> positions = {0, 1, 2, 3, 4}, sequences(5, 0);
    for (int p = begin; p < end; ++p)
      positions.push_back(p), sequences.push_back(1);
    Memory in = gpu.upload(queries), kv = gpu.upload(pool), out = gpu.allocate(queries.size() * 2);
    gpu.fill(out, 0xff);
    DeviceStep step = gpu.step(std::vector<int>(positions.size(), 0), positions, sequences, pages);
    gpu.launch(kernel, {out.address, in.address, kv.address}, step.view);
    gpu.synchronise(form.name);
    std::vector<uint16_t> all = gpu.download<uint16_t>(out, queries.size());
    return {all.begin() + ptrdiff_t(5 * row), all.end()};
  }

  size_t element(int kvHead, int key, bool value, int column) const {
    size_t page = size_t(pages) + size_t(key) / 64;
    return ((page * 2 + value) * form.kvHeads + size_t(kvHead)) * 64 * form.headDim +
           size_t(key) % 64 * form.headDim + cachedColumn(form.headDim, key, column);
  }

  void compareHead(int token, int head, const uint16_t *got, Comparison &comparison) const {
    int kvHead = head / (form.heads / form.kvHeads),
        first = form.window ? std::max(0, token + 1 - form.window) : 0;
    std::vector<double> scores, out(size_t(form.headDim), 0);
    double top = -INFINITY, sum = 0;
    for (int key = first; key <= token; ++key) {
      double s = 0;
      for (int d = 0; d < form.headDim; ++d)
        s += bf16Value(q[(size_t(token) * form.heads + head) * form.headDim + d]) *
             bf16Value(pool[element(kvHead, key, false, d)]);
      s /= std::sqrt(form.headDim);
      scores.push_back(form.softcap > 0 ? form.softcap * std::tanh(s / form.softcap) : s);
      top = std::max(top, scores.back());
    }
    for (int key = first; key <= token; ++key) {
      double p = std::exp(scores[size_t(key - first)] - top);
      sum += p;
      for (int d = 0; d < form.headDim; ++d)
        out[size_t(d)] += p * bf16Value(pool[element(kvHead, key, true, d)]);
    }
    for (int d = 0; d < form.headDim; ++d)
      comparison.add(bf16Value(got[d]), out[size_t(d)] / sum, 0x1p-7);
  }

  Outcome check(Gpu &gpu) const {
    size_t row = size_t(form.heads) * form.headDim;
    std::vector<uint16_t> whole = run(gpu, 0, form.tokens), cut;
    for (int begin = 0; begin < form.tokens; begin += 128) {
      std::vector<uint16_t> part = run(gpu, begin, std::min(begin + 128, form.tokens));
      cut.insert(cut.end(), part.begin(), part.end());
    }
    Comparison comparison;
    for (int token = 0; token < form.tokens; token += 1 + token % 7)
      for (int head = 0; head < form.heads; ++head)
        compareHead(token, head, whole.data() + size_t(token) * row + size_t(head) * form.headDim,
                    comparison);
    bool same = whole == cut;
    Outcome outcome = comparison.outcome(same ? "same bits in chunks of 128" : "CHUNKS DIFFER");
    outcome.passed = outcome.passed && same;
    return outcome;
  }
};

KernelRequest prefillRequest(int heads, int kvHeads, int headDim, int window, double softcap) {
  return {"attention_prefill",
          {{"heads", heads},
           {"kvHeads", kvHeads},
           {"headDim", headDim},
           {"type", 3},
           {"window", window},
           {"stages", headDim == 64 || headDim == 128 ? 4 : 0},
           {"scale", 1 / std::sqrt(headDim)},
           {"softcap", softcap}}};
}

constexpr PrefillForm prefillForms[] = {
    {"prefill attention 4/2 of 128", 4, 2, 128, 0, 0, 300},
    {"prefill attention 8/1 of 64", 8, 1, 64, 0, 0, 257},
    {"prefill attention 6/3 of 16", 6, 3, 16, 0, 0, 40},
    {"prefill attention 4/4 of 32, cap", 4, 4, 32, 0, 20, 130},
    {"prefill attention 2/1 of 96", 2, 1, 96, 0, 0, 200},
    {"prefill attention 4/2 of 64, window 100", 4, 2, 64, 100, 0, 400},
    {"prefill attention 2/1 of 256", 2, 1, 256, 0, 0, 100},
};

/// All products of a layer for 2,000 tokens.
Case tileSpeedCase(const ModelShape &m) {
  struct Product {
    int in, out;
  };
  std::vector<Product> products = {{m.hidden, m.heads * m.headDim},
                                   {m.hidden, m.kvHeads * m.headDim},
                                   {m.heads * m.headDim, m.hidden},
                                   {m.hidden, m.intermediate},
                                   {m.intermediate, m.hidden}};
  std::vector<KernelRequest> kernels;
  for (const Product &p : products)
    kernels.push_back(tileRequest(p.in, p.out, false, 3));
  std::string name = std::string(m.name) + " prefill products, 2000 tokens";
  return {name, kernels, [=](Gpu &gpu) {
            Memory weights = gpu.allocate(size_t(64) << 20), x = gpu.allocate(size_t(64) << 20),
                   out = gpu.allocate(size_t(64) << 20);
            fillRandom(gpu, weights);
            fillRandom(gpu, x);
            std::vector<int> zeros(2000, 0);
            DeviceStep step = gpu.step(zeros, zeros, zeros, 1);
            std::string text;
            for (size_t i = 0; i < kernels.size(); ++i) {
              double ms = gpu.timeGraph(
                  name,
                  [&] {
                    gpu.launch(kernels[i], {out.address, x.address, weights.address, weights.address},
                               step.view);
                  },
                  20);
              char part[64];
              std::snprintf(part, sizeof part, "%dx%d %.0f ", products[i].in, products[i].out,
                            4000e-9 * products[i].in * products[i].out / ms);
              text += part;
            }
            return Outcome{true, text + "TFLOP/s"};
          }};
}

/// The gate product of a layer with GGUF weights.
Case blocksSpeedCase(const ModelShape &m, DType type) {
  KernelRequest kernel = tileRequest(m.hidden, m.intermediate, false, 3);
  kernel.symbol = "linear_tile_blocks";
  kernel.shape["weightType"] = double(type);
  std::string name =
      std::string(m.name) + " prefill gate in " + std::string(dtypeName(type)) + ", 2000 tokens";
  return {name, {kernel}, [=](Gpu &gpu) {
            Memory weights = gpu.allocate(size_t(64) << 20), x = gpu.allocate(size_t(64) << 20),
                   out = gpu.allocate(size_t(64) << 20);
            fillRandom(gpu, weights);
            fillRandom(gpu, x);
            std::vector<int> zeros(2000, 0);
            DeviceStep step = gpu.step(zeros, zeros, zeros, 1);
            double ms = gpu.timeGraph(
                name,
                [&] {
                  gpu.launch(kernel, {out.address, x.address, weights.address, weights.address}, step.view);
                },
                20);
            char text[64];
            std::snprintf(text, sizeof text, "%.1f us, %.0f TFLOP/s", ms * 1e3,
                          4000e-9 * m.hidden * m.intermediate / ms);
            return Outcome{true, text};
          }};
}

Case prefillSpeedCase(const ModelShape &m) {
  KernelRequest kernel = prefillRequest(m.heads, m.kvHeads, m.headDim, 0, 0);
  std::string name = std::string(m.name) + " prefill attention, 2000 tokens";
  return {name, {kernel}, [=](Gpu &gpu) {
            const int tokens = 2000, pages = (tokens + 63) / 64;
            Memory kv = gpu.allocate(size_t(pages) * 64 * 2 * m.kvHeads * m.headDim * 2);
            Memory q = gpu.allocate(size_t(tokens) * m.heads * m.headDim * 2),
                   out = gpu.allocate(size_t(tokens) * m.heads * m.headDim * 2);
            fillRandom(gpu, kv);
            fillRandom(gpu, q);
            std::vector<int> zeros(tokens, 0), positions;
            for (int p = 0; p < tokens; ++p)
              positions.push_back(p);
            DeviceStep step = gpu.step(zeros, positions, zeros, pages);
            double ms = gpu.timeGraph(
                name, [&] { gpu.launch(kernel, {out.address, q.address, kv.address}, step.view); }, 20);
            char text[96];
            std::snprintf(text, sizeof text, "%.1f us a layer, %.0f TFLOP/s (causal half counted)", ms * 1e3,
                          2e-9 * tokens * double(tokens) * m.heads * m.headDim / ms);
            return Outcome{true, text};
          }};
}

} // namespace

void addPrefillCases(std::vector<Case> &cases) {
  cases.push_back(tileCase("tile product 200 x 192 to 250", 200, 192, 250, false));
  cases.push_back(tileCase("tile product 130 x 1024 to 256", 130, 1024, 256, false));
  cases.push_back(tileCase("tile product 17 x 40 to 7, bias", 17, 40, 7, true));
  cases.push_back(blocksCase("tile product 200 x 192 to 250, Q8_0", DType::Q8_0, 200, 192, 250));
  cases.push_back(blocksCase("tile product 130 x 1024 to 128, Q4_0", DType::Q4_0, 130, 1024, 128));
  cases.push_back(blocksCase("tile product 70 x 576 to 130, Q4_1", DType::Q4_1, 70, 576, 130));
  for (const PrefillForm &form : prefillForms) {
    KernelRequest kernel = prefillRequest(form.heads, form.kvHeads, form.headDim, form.window, form.softcap);
    cases.push_back(
        {form.name, {kernel}, [&form, kernel](Gpu &gpu) { return PrefillRun(form, kernel).check(gpu); }});
  }
}

void addPrefillSpeedCases(std::vector<Case> &cases) {
  for (const ModelShape &model : {modelShapes[0], modelShapes[1]}) {
    cases.push_back(tileSpeedCase(model));
    cases.push_back(prefillSpeedCase(model));
    for (DType type : {DType::Q8_0, DType::Q4_1})
      cases.push_back(blocksSpeedCase(model, type));
  }
}

} // namespace fusebox::gputest
