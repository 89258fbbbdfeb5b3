// embed, select_rows, glu, add, scale and softcap.
#include "test/device/Reference.h"

namespace fusebox::gputest {

namespace {

using cuda::KernelRequest;

/// A kernel of two bf16 inputs of 3 × 1000 values against f(a, b).
Case binaryCase(const char *name, KernelRequest kernel, std::function<double(double, double)> f,
                double absolute = 0) {
  return {name, {kernel}, [=](Gpu &gpu) {
            std::vector<uint16_t> a = randomBf16(3000, 1), b = randomBf16(3000, 2);
            Memory da = gpu.upload(a), db = gpu.upload(b), out = gpu.allocate(6000);
            gpu.fill(out, 0xff);
            std::vector<int> zeros(3, 0);
            DeviceStep step = gpu.step(zeros, zeros, zeros, 1);
            gpu.launch(kernel, {out.address, da.address, db.address}, step.view);
            gpu.synchronise(name);
            std::vector<uint16_t> got = gpu.download<uint16_t>(out, 3000);
            Comparison comparison;
            for (size_t i = 0; i < got.size(); ++i)
              comparison.add(bf16Value(got[i]), f(bf16Value(a[i]), bf16Value(b[i])), absolute);
            return comparison.outcome();
          }};
}

Case embedCase() {
  KernelRequest embed{"embed", {{"columns", 100}, {"tableType", 3}, {"outType", 3}, {"scale", 10}}};
  KernelRequest select{"select_rows", {{"columns", 100}, {"type", 3}}};
  return {"embed and select_rows", {embed, select}, [=](Gpu &gpu) {
            std::vector<uint16_t> table = randomBf16(5000, 1);
            std::vector<int> tokens = {49, 0, 7}, zeros(3, 0);
            Memory weights = gpu.upload(table), out = gpu.allocate(600), selected = gpu.allocate(600);
            DeviceStep step = gpu.step(tokens, zeros, zeros, 1);
            std::vector<int> wanted = {2, 0};
            Memory rows = gpu.upload(wanted);
            step.view.logitsRow = reinterpret_cast<const int32_t *>(rows.address);
            step.view.logitsRows = 2;
            gpu.launch(embed, {out.address, weights.address}, step.view);
            gpu.launch(select, {selected.address, out.address}, step.view);
            gpu.synchronise("embed");
            std::vector<uint16_t> got = gpu.download<uint16_t>(out, 300),
                                  chosen = gpu.download<uint16_t>(selected, 200);
            size_t wrong = 0;
            for (size_t r = 0; r < 3; ++r)
              for (size_t c = 0; c < 100; ++c)
                wrong += got[r * 100 + c] != f64ToBf16(10 * bf16Value(table[size_t(tokens[r]) * 100 + c]));
            for (size_t r = 0; r < 2; ++r)
              for (size_t c = 0; c < 100; ++c)
                wrong += chosen[r * 100 + c] != got[size_t(wanted[r]) * 100 + c];
            return Outcome{wrong == 0, std::to_string(wrong) + " wrong"};
          }};
}

} // namespace

void addPointwiseCases(std::vector<Case> &cases) {
  cases.push_back(embedCase());
  cases.push_back(
      binaryCase("add", {"add", {{"columns", 1000}, {"type", 3}}}, [](double a, double b) { return a + b; }));
  cases.push_back(binaryCase(
      "glu, silu", {"glu", {{"columns", 1000}, {"type", 3}, {"roundActivation", 1}}},
      [](double a, double b) { return roundedBf16(silu(a)) * b; }, 1e-6));
  cases.push_back(binaryCase("scale", {"scale", {{"columns", 1000}, {"type", 3}, {"factor", 0.37}}},
                             [](double a, double) { return a * double(0.37f); }));
  cases.push_back(binaryCase(
      "softcap", {"softcap", {{"columns", 1000}, {"type", 3}, {"cap", 2}}},
      [](double a, double) { return 2 * std::tanh(a / 2); }, 1e-6));
}

} // namespace fusebox::gputest
