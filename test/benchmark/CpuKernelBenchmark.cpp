// Speed of the CPU kernels: GFLOP/s of the linear kernel over many rows, GB/s over one beside the memory's
// own, the share of attention and row kernels, and specialised against unspecialised shapes.
//
//   cpu-kernel-benchmark [--benchmark_filter=REGEX]
//
// Kernels run in one thread; CPU time is what counts, so a busy machine disturbs less. FUSEBOX_TARGET picks
// another ISA than the machine's own.
#include "test/unit/kernels_cpu/KernelHarness.h"
#include "test/unit/kernels_cpu/Reference.h"

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <numeric>
#include <thread>

using namespace fusebox;
using namespace fusebox::cpu;
using namespace fusebox::cpu::test;

namespace {

constexpr int64_t bf16 = int64_t(DType::BF16);

std::string target() {
  const char *name = std::getenv("FUSEBOX_TARGET");
  return name ? name : "native";
}

/// A kernel with its step and 64-byte-aligned scratch, run whole.
class Runner {
public:
  Runner(const std::string &kernel, const Fields &fields, Step step, Specialise specialise = Specialise::All)
      : code(kernel, fields, target(), plan::Extent::Tokens, specialise), step(std::move(step)),
        view(this->step.view()), variant(code.chooseVariant(view)), tasks(code.tasks(variant, view)),
        scratch(static_cast<char *>(
                    std::aligned_alloc(64, (code.variants[variant].scratchBytes + 127) / 64 * 64)),
                std::free) {}

  void operator()(void *const *args) {
    std::fill_n(scratch.get(), scratchMarkBytes, 0);
    for (int64_t task = 0; task < tasks; ++task)
      code.runTask(variant, args, view, scratch.get(), task);
  }

private:
  CompiledCpuKernel code;
  Step step;
  StepView view;
  int variant;
  int64_t tasks;
  std::unique_ptr<char, void (*)(void *)> scratch;
};

Fields linearFields(int64_t in, int64_t out, DType weight, DType type) {
  return {{"in", in},
          {"out", out},
          {"weightType", int64_t(weight)},
          {"inType", int64_t(type)},
          {"outType", int64_t(type)},
          {"hasBias", int64_t(0)},
          {"biasType", bf16},
          {"roundBeforeF32", int64_t(0)}};
}

void linear(benchmark::State &state, const std::string &kernel, int64_t in, int64_t out, int64_t rows,
            DType weight, DType type, Specialise specialise) {
  FlushDenormals flush;
  // Several copies of the weights, so that one row reads memory, unless they are to fit a cache.
  int64_t bytes = in * out / blockSize(weight).elements * blockSize(weight).bytes;
  int64_t copies = rows == 1 && bytes > (200 << 10) ? std::max<int64_t>(1, (192 << 20) / bytes) : 1;
  Tensor w = randomTensor(weight, in * out, 1), x = randomTensor(type, rows * in, 2),
         y = zeros(type, rows * out);
  w.bytes.resize(bytes * copies);
  for (int64_t i = 1; i < copies; ++i)
    std::memcpy(&w.bytes[i * bytes], &w.bytes[0], bytes);
  Runner run(kernel, linearFields(in, out, weight, type), Step({{0, int32_t(rows)}}), specialise);
  int64_t copy = 0;
  for (auto _ : state) {
    void *args[] = {y.data(), x.data(), &w.bytes[copy * bytes]};
    run(args);
    copy = (copy + 1) % copies;
  }
  state.counters["GFLOP/s"] =
      benchmark::Counter(2e-9 * double(in * out * rows), benchmark::Counter::kIsIterationInvariantRate);
  state.counters["GB/s"] =
      benchmark::Counter(1e-9 * double(bytes), benchmark::Counter::kIsIterationInvariantRate);
}

void readMemory(benchmark::State &state) {
  typedef int64_t v8l __attribute__((vector_size(64)));
  std::vector<v8l> memory((256 << 20) / sizeof(v8l), v8l{1});
  for (auto _ : state) {
    v8l sum[8] = {};
    for (size_t i = 0; i < memory.size(); i += 8)
      for (int j = 0; j < 8; ++j)
        sum[j] += memory[i + j];
    for (int j = 1; j < 8; ++j)
      sum[0] += sum[j];
    benchmark::DoNotOptimize(sum);
  }
  state.counters["GB/s"] = benchmark::Counter(1e-9 * double(memory.size() * sizeof(v8l)),
                                              benchmark::Counter::kIsIterationInvariantRate);
}

void attention(benchmark::State &state, int64_t heads, int64_t kvHeads, int64_t headDim, int32_t first,
               int32_t rows) {
  FlushDenormals flush;
  int32_t pages = (first + rows + 63) / 64;
  Tensor q = randomTensor(DType::BF16, rows * heads * headDim, 1), out = q;
  Tensor kv = randomTensor(DType::BF16, pages * 128 * kvHeads * headDim, 2);
  Fields fields = {{"heads", heads}, {"kvHeads", kvHeads},   {"headDim", headDim}, {"type", bf16},
                   {"scale", 0.125}, {"window", int64_t(0)}, {"softcap", 0.0},     {"rounding", int64_t(0)}};
  Runner run("attention", fields, Step({{first, rows}}, pages));
  void *args[] = {out.data(), q.data(), kv.data()};
  for (auto _ : state)
    run(args);
  double keys = 0;
  for (int32_t i = 0; i < rows; ++i)
    keys += first + i + 1;
  state.counters["GFLOP/s"] = benchmark::Counter(4e-9 * keys * double(heads * headDim),
                                                 benchmark::Counter::kIsIterationInvariantRate);
  state.counters["GB/s"] =
      benchmark::Counter(1e-9 * double(kv.bytes.size()), benchmark::Counter::kIsIterationInvariantRate);
}

void rowKernel(benchmark::State &state, const std::string &kernel, const Fields &fields, int64_t columns,
               int32_t rows) {
  FlushDenormals flush;
  Tensor a = randomTensor(DType::BF16, rows * columns, 1), b = randomTensor(DType::BF16, rows * columns, 2),
         out = a;
  Runner run(kernel, fields, Step({{0, rows}}));
  void *args[] = {out.data(), a.data(), b.data()};
  for (auto _ : state)
    run(args);
  state.counters["Gelements/s"] =
      benchmark::Counter(1e-9 * double(rows * columns), benchmark::Counter::kIsIterationInvariantRate);
}

void addLinear(int64_t in, int64_t out, int64_t rows, DType weight, DType type,
               Specialise specialise = Specialise::All, const std::string &kernel = "linear") {
  std::string name = kernel + "/" + std::string(dtypeName(weight)) + "/" + std::string(dtypeName(type)) +
                     "/" + std::to_string(in) + "x" + std::to_string(out) + "/rows:" + std::to_string(rows) +
                     (specialise == Specialise::All ? "" : "/unspecialised");
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State &state) {
    linear(state, kernel, in, out, rows, weight, type, specialise);
  });
}

void addAll() {
  benchmark::RegisterBenchmark("memory/read", readMemory);
  for (DType weight : {DType::BF16, DType::Q4_1, DType::Q4_0, DType::Q8_0}) {
    for (auto [in, out] : {std::pair{576, 576}, {576, 1536}, {1536, 576}}) {
      addLinear(in, out, 1, weight, DType::BF16);
      addLinear(in, out, 512, weight, DType::BF16);
    }
    addLinear(576, 128, 1, weight, DType::BF16);
    addLinear(2048, 2048, 512, weight, DType::BF16);
    addLinear(576, 1536, 8, weight, DType::BF16);
    if (weight != DType::BF16)
      for (int64_t rows : {1, 512})
        addLinear(576, 1536, rows, weight, DType::BF16, Specialise::All, "linear_int8");
  }
  addLinear(5632, 2048, 512, DType::BF16, DType::BF16);
  for (DType weight : {DType::F32, DType::BF16}) {
    addLinear(576, 1536, 1, weight, DType::F32);
    addLinear(576, 1536, 512, weight, DType::F32);
  }
  for (int64_t rows : {1, 512})
    addLinear(576, 1536, rows, DType::BF16, DType::BF16, Specialise::TypesOnly);
  for (auto [first, rows] : {std::pair{0, 512}, {511, 1}, {4095, 1}}) {
    std::string name = "attention/9:3x64/at:" + std::to_string(first) + "/rows:" + std::to_string(rows);
    benchmark::RegisterBenchmark(name.c_str(),
                                 [=](benchmark::State &state) { attention(state, 9, 3, 64, first, rows); });
  }
  for (int32_t rows : {1, 512}) {
    auto row = [&](const std::string &kernel, const Fields &fields, int64_t columns) {
      benchmark::RegisterBenchmark(
          (kernel + "/rows:" + std::to_string(rows)).c_str(),
          [=](benchmark::State &state) { rowKernel(state, kernel, fields, columns, rows); });
    };
    row("norm",
        {{"columns", int64_t(576)},
         {"groups", int64_t(1)},
         {"type", bf16},
         {"gainType", bf16},
         {"roundNormalised", int64_t(1)},
         {"onePlus", int64_t(0)},
         {"eps", 1e-5}},
        576);
    row("add", {{"columns", int64_t(576)}, {"type", bf16}}, 576);
    row("glu",
        {{"columns", int64_t(1536)},
         {"activation", int64_t(0)},
         {"type", bf16},
         {"roundActivation", int64_t(1)}},
        1536);
    row("rope",
        {{"heads", int64_t(9)},
         {"headDim", int64_t(64)},
         {"rotaryDim", int64_t(64)},
         {"interleaved", int64_t(0)},
         {"type", bf16},
         {"anglesType", bf16},
         {"roundProducts", int64_t(1)}},
        576);
    row("rope_angles", {{"half", int64_t(32)}, {"outType", bf16}, {"attentionFactor", 1.0}}, 576);
  }
}

} // namespace

int main(int argc, char **argv) {
  addAll();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
