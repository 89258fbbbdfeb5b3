// linear_skinny against f64: plain, several parts, merged norm, gate, residual, bias; odd shapes; bits of a
// row at every batch and grid.
#include "test/device/Chain.h"
#include "test/device/Reference.h"

#include <cstring>

namespace fusebox::gputest {

namespace {

struct Form {
  const char *name;
  int in, parts[3];
  bool norm, glu, residual, bias, stacked;
};

cuda::KernelRequest request(const Form &form, int columnTiles) {
  cuda::Shape shape = {{"in", form.in},          {"part0", form.parts[0]},  {"part1", form.parts[1]},
                       {"part2", form.parts[2]}, {"stacked", form.stacked}, {"columnTiles", columnTiles},
                       {"glu", form.glu},        {"norm", form.norm},       {"hasBias", form.bias},
                       {"biasType", 1},          {"columns", form.in},      {"type", 3},
                       {"gainType", 3},          {"roundNormalised", 1},    {"eps", 1e-6}};
  return {"linear_skinny", shape, form.glu ? gatedSums() : form.residual ? residualSum() : roundedSum()};
}

struct LinearRun {
  const Form &form;
  int rows;
  std::vector<uint16_t> x, gain, residual, weights[3];
  std::vector<float> bias[3];

  LinearRun(const Form &form, int rows) : form(form), rows(rows) {
    x = randomBf16(size_t(rows) * form.in, 1);
    gain = randomBf16(size_t(form.in), 2, 0.3, 1);
    residual = randomBf16(size_t(rows) * form.parts[0], 3);
    for (unsigned p = 0; p < 3; ++p) {
      weights[p] = randomBf16(size_t(form.parts[p]) * form.in, 10 + p, 1 / std::sqrt(form.in));
      for (uint16_t v : randomBf16(size_t(form.parts[p]), 20 + p))
        bias[p].push_back(bf16ToF32(v));
    }
  }

  /// Runs rows [first, first + count) and returns the outputs of all parts.
  std::vector<uint16_t> run(Gpu &gpu, const cuda::KernelRequest &kernel, int first, int count,
                            unsigned blocks) const {
    auto slice = [&](const std::vector<uint16_t> &v, int columns) {
      return gpu.upload(std::vector<uint16_t>(v.begin() + ptrdiff_t(first) * columns,
                                              v.begin() + ptrdiff_t(first + count) * columns));
    };
    std::vector<Memory> held;
    std::vector<cuda::DevicePtr> args, weightArgs, biasArgs;
    auto hold = [&](Memory memory) {
      held.push_back(std::move(memory));
      return held.back().address;
    };
    size_t outs = 0, total = 0;
    for (int p = 0; p < 3 && form.parts[p]; ++p) {
      if (!(form.glu && p)) {
        args.push_back(hold(gpu.allocate(size_t(count) * form.parts[p] * 2)));
        gpu.fill(held.back(), 0xff);
        ++outs;
        total += size_t(count) * form.parts[p];
      }
      weightArgs.push_back(hold(gpu.upload(weights[p])));
      biasArgs.push_back(hold(gpu.upload(bias[p])));
    }
    args.push_back(hold(slice(x, form.in)));
    args.insert(args.end(), weightArgs.begin(), weightArgs.end());
    if (form.bias)
      args.insert(args.end(), biasArgs.begin(), biasArgs.end());
    if (form.norm)
      args.push_back(hold(gpu.upload(gain)));
    if (form.residual)
      args.push_back(hold(slice(residual, form.parts[0])));
    std::vector<int> zeros(size_t(count), 0), positions(size_t(count), 5);
    DeviceStep step = gpu.step(zeros, positions, zeros, 1);
    gpu.launch(kernel, args, step.view, blocks);
    gpu.synchronise(form.name);
    std::vector<uint16_t> out(total);
    size_t at = 0;
    for (size_t p = 0; p < outs; ++p) {
      gpu.copyToHost(out.data() + at, args[p], size_t(count) * form.parts[p] * 2);
      at += size_t(count) * form.parts[p];
    }
    return out;
  }

  double product(const std::vector<double> &row, int part, int output) const {
    double sum = form.bias ? bias[part][size_t(output)] : 0;
    for (int k = 0; k < form.in; ++k)
      sum += row[size_t(k)] * bf16Value(weights[part][size_t(output) * form.in + k]);
    return sum;
  }

  Comparison compare(const std::vector<uint16_t> &out) const {
    Comparison comparison;
    size_t partStart = 0;
    for (int p = 0; p < (form.glu ? 1 : 3) && form.parts[p]; ++p) {
      for (int r = 0; r < rows; ++r) {
        std::vector<double> row(size_t(form.in));
        for (int k = 0; k < form.in; ++k)
          row[size_t(k)] = bf16Value(x[size_t(r) * form.in + k]);
        if (form.norm)
          row = referenceNorm(row.data(), gain.data(), form.in, 1e-6, true, false);
        for (int o = 0; o < form.parts[p]; o += 1 + o % 3) {
          double want = product(row, p, o), absolute = 2e-2;
          if (form.glu)
            want = roundedBf16(silu(roundedBf16(want))) * roundedBf16(product(row, 1, o));
          if (form.residual)
            want = roundedBf16(want) + bf16Value(residual[size_t(r) * form.parts[p] + o]);
          comparison.add(bf16Value(out[partStart + size_t(r) * form.parts[p] + o]), want, absolute);
        }
      }
      partStart += size_t(rows) * form.parts[p];
    }
    return comparison;
  }

  /// Whether row r computed alone, with a kernel for small batches and another grid, has the bits it has in
  /// `out`.
  bool sameAlone(Gpu &gpu, const cuda::KernelRequest &small, const std::vector<uint16_t> &out, int r,
                 unsigned blocks) const {
    std::vector<uint16_t> alone = run(gpu, small, r, 1, blocks);
    size_t partStart = 0, at = 0;
    for (int p = 0; p < (form.glu ? 1 : 3) && form.parts[p]; ++p) {
      if (std::memcmp(alone.data() + at, out.data() + partStart + size_t(r) * form.parts[p],
                      size_t(form.parts[p]) * 2))
        return false;
      partStart += size_t(rows) * form.parts[p];
      at += size_t(form.parts[p]);
    }
    return true;
  }
};

constexpr Form forms[] = {
    {"linear 1024 to 256", 1024, {256, 0, 0}, false, false, false, false, false},
    {"linear 96 to 250, odd rows", 96, {250, 0, 0}, false, false, false, false, false},
    {"linear 40 to 7, bias", 40, {7, 0, 0}, false, false, false, true, false},
    {"linear 3072 to 100, stacked, residual", 3072, {100, 0, 0}, false, false, true, false, true},
    {"linear 5632 to 72, stacked", 5632, {72, 0, 0}, false, false, false, false, true},
    {"linear 8192 to 64, two groups of chunks", 8192, {64, 0, 0}, false, false, false, false, false},
    {"linear 8192 to 40, stacked, two groups", 8192, {40, 0, 0}, false, false, true, false, true},
    {"linear q k v with norm", 1024, {64, 40, 24}, true, false, false, false, false},
    {"linear q k v with norm and bias, 576", 576, {64, 40, 24}, true, false, false, true, false},
    {"linear gate up with norm, 2048", 2048, {88, 88, 0}, true, true, false, false, false},
    {"linear gate up with norm, 576", 576, {120, 120, 0}, true, true, false, false, false},
};

} // namespace

void addLinearCases(std::vector<Case> &cases) {
  for (const Form &form : forms) {
    cuda::KernelRequest large = request(form, form.stacked ? 4 : 2), small = request(form, 1);
    cases.push_back({form.name, {large, small}, [&form, large, small](Gpu &gpu) {
                       LinearRun run(form, 16);
                       std::vector<uint16_t> out = run.run(gpu, large, 0, 16, 0);
                       Comparison comparison = run.compare(out);
                       bool same = true;
                       for (int r : {0, 5, 15})
                         same = same && run.sameAlone(gpu, small, out, r, r == 5 ? 1 : r == 15 ? 3 : 0);
                       Outcome outcome =
                           comparison.outcome(same ? "same bits alone and on other grids" : "BITS DIFFER");
                       outcome.passed = outcome.passed && same;
                       return outcome;
                     }});
  }
}

} // namespace fusebox::gputest
