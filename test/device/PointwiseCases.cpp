// embed, select_rows and generated pointwise kernels.
#include "test/device/Chain.h"
#include "test/device/Reference.h"

namespace fusebox::gputest {

namespace {

using cuda::KernelRequest;

/// A generated kernel of bf16 values, 3 rows of `columns`, against the oracle. The GPU's exp, tanh and erf
/// may move each rounding behind them by one: `roundings` (0: the bits are the oracle's). Where 1 + erf
/// cancels, f32 keeps but an absolute error, the oracle's too: `cancelling` units of a · b.
Case chainCase(const Chain &chain, int columns, int roundings, double cancelling) {
  KernelRequest kernel{"pointwise", {{"columns", columns}}, chain.body()};
  return {"pointwise " + chain.name() + ", " + std::to_string(columns), {kernel}, [=](Gpu &gpu) {
            const size_t count = 3 * size_t(columns);
            std::vector<uint16_t> a = randomBf16(count, 1, 3), b = randomBf16(count, 2, 3);
            const uint16_t special[] = {0,      0x8000, 0x7f80, 0xff80, 0x7fc0, 1,
                                        0x8001, 0x7f,   0x80,   0x7f7f, 0xff7f};
            for (size_t i = 0; i < 121; ++i)
              a[7 * i % count] = special[i / 11], b[7 * i % count] = special[i % 11];
            Memory da = gpu.upload(a), db = gpu.upload(b), out = gpu.allocate(2 * count);
            gpu.fill(out, 0xff);
            std::vector<int> zeros(3, 0);
            DeviceStep step = gpu.step(zeros, zeros, zeros, 1);
            gpu.launch(kernel, {out.address, da.address, db.address}, step.view);
            gpu.synchronise(chain.name());
            std::vector<uint16_t> got = gpu.download<uint16_t>(out, count);
            std::vector<std::vector<double>> inputs(2);
            for (size_t i = 0; i < count; ++i)
              inputs[0].push_back(bf16Value(a[i])), inputs[1].push_back(bf16Value(b[i]));
            std::vector<double> want = chain.expected(inputs);
            size_t different = 0, wrong = 0;
            std::string first;
            for (size_t i = 0; i < count; ++i) {
              double value = bf16Value(got[i]);
              bool same = std::isnan(want[i]) ? std::isnan(value) : value == want[i];
              different += !same;
              double allowed =
                  std::abs(want[i]) * 0x1p-7 * roundings + cancelling * std::abs(inputs[0][i] * inputs[1][i]);
              if (!same && (roundings == 0 || !(std::abs(value - want[i]) <= allowed)) && wrong++ == 0)
                first = "; " + std::to_string(value) + ", not " + std::to_string(want[i]) + ", of " +
                        std::to_string(inputs[0][i]) + ", " + std::to_string(inputs[1][i]);
            }
            return Outcome{wrong == 0, std::to_string(count) + " values, " + std::to_string(different) +
                                           " off by a rounding, " + std::to_string(wrong) + " wrong" + first};
          }};
}

std::vector<Case> chainCases() {
  std::vector<Case> cases;
  auto add = [&](const char *name, const std::string &operations, int roundings, double cancelling = 0) {
    Chain chain(name, "%a: !b, %b: !b", operations);
    for (int columns : {1000, 333})
      cases.push_back(chainCase(chain, columns, roundings, cancelling));
  };
  add("add", "%r = layer.add %a, %b : !b", 0);
  add("scale", "%r = layer.scale %a by 0.37 : !b", 0);
  add("softcap", "%r = layer.softcap %a at 2.0 : !b", 1);
  for (std::string activation : {"silu", "gelu", "gelu_tanh"})
    add(("glu " + activation).c_str(),
        "%r = layer.glu " + activation + " %a, %b rounds activation_and_product : !b", 2,
        activation == "gelu" ? 3e-7 : 0);
  add("scale add", "%s = layer.scale %a by 0.22 : !b\n%r = layer.add %b, %s : !b", 0);
  add("add softcap", "%s = layer.add %a, %b : !b\n%r = layer.softcap %s at 2.0 : !b", 1);
  return cases;
}

Case embedCase() {
  Chain scaled("embed", "%v: !f", "%e = layer.cast %v : !f -> !b\n%r = layer.scale %e by 10.0 : !b");
  KernelRequest embed{"embed", {{"columns", 100}, {"tableType", 3}}, scaled.body()};
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
  for (Case &c : chainCases())
    cases.push_back(std::move(c));
}

} // namespace fusebox::gputest
