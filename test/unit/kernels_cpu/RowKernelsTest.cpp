// The kernels that work row by row, against scalar references with the same rounding points.
#include "test/unit/kernels_cpu/KernelHarness.h"
#include "test/unit/kernels_cpu/Reference.h"

#include <gtest/gtest.h>

using namespace fusebox;
using namespace fusebox::cpu;
using namespace fusebox::cpu::test;

namespace {

constexpr DType activations[] = {DType::BF16, DType::F32};

/// |a − b| in units in the last place of `type` at b.
double ulps(DType type, double got, double want) {
  if (got == want || (std::isnan(got) && std::isnan(want)))
    return 0;
  int exponent = std::max(std::ilogb(want == 0 ? 1e-30 : want), -126);
  return std::abs(got - want) / std::ldexp(1.0, exponent - (type == DType::F32 ? 23 : 7));
}

/// Runs a kernel on every target; all must agree with the first to the bit.
Tensor runEverywhere(const std::string &kernel, const Fields &fields, DType outType, size_t count,
                     std::vector<const void *> args, const Step &step,
                     plan::Extent rows = plan::Extent::Tokens) {
  std::optional<Tensor> first;
  args.insert(args.begin(), nullptr);
  for (const std::string &target : runnableTargets()) {
    Tensor out = zeros(outType, count);
    args[0] = out.data();
    CompiledCpuKernel(kernel, fields, target, rows).run(args, step);
    if (first) {
      EXPECT_EQ(first->bytes, out.bytes) << kernel << " on " << target;
    }
    first = out;
  }
  return *first;
}

} // namespace

TEST(Norm, RoundsWhereTheShapeSays) {
  for (DType type : activations)
    for (auto [columns, groups, roundNormalised, onePlus] :
         {std::tuple{576, 1, 1, 0}, {70, 1, 0, 1}, {16, 5, 1, 0}, {64, 3, 0, 0}}) {
      Tensor in = randomTensor(type, 3 * columns * groups, 1, 2.0f), gain = randomTensor(type, columns, 2);
      Fields fields = {{"columns", int64_t(columns)},
                       {"groups", int64_t(groups)},
                       {"type", int64_t(type)},
                       {"gainType", int64_t(type)},
                       {"roundNormalised", int64_t(roundNormalised)},
                       {"onePlus", int64_t(onePlus)},
                       {"eps", 1e-5}};
      Tensor out =
          runEverywhere("norm", fields, type, 3 * columns * groups, {in.data(), gain.data()}, Step({{0, 3}}));
      for (int group = 0; group < 3 * groups; ++group) {
        double squares = 0;
        for (int i = 0; i < columns; ++i)
          squares += double(in[group * columns + i]) * in[group * columns + i];
        double factor = 1 / std::sqrt(squares / columns + 1e-5);
        for (int i = 0; i < columns; ++i) {
          double y = in[group * columns + i] * factor;
          if (roundNormalised)
            y = rounded(type, float(y));
          y *= gain[i] + (onePlus ? 1.0 : 0.0);
          // A tie broken otherwise shows as one step, twice if it happens at both roundings.
          EXPECT_LE(ulps(type, out[group * columns + i], y), type == DType::F32 ? 6 : 1.6) << i;
        }
      }
    }
}

TEST(RopeAngles, AreTheRoundedFunctionsOfTheF32Product) {
  constexpr int half = 20;
  std::vector<float> invFreq;
  for (int i = 0; i < half; ++i)
    invFreq.push_back(float(std::pow(10000.0, -double(i) / half)));
  for (double factor : {1.0, 1.25})
    for (DType type : activations) {
      Step step({{0, 3}, {131000, 5}, {8191, 9}}, 4096);
      Fields fields = {{"half", int64_t(half)}, {"outType", int64_t(type)}, {"attentionFactor", factor}};
      Tensor out = runEverywhere("rope_angles", fields, type, 17 * 2 * half, {invFreq.data()}, step);
      for (int row = 0; row < 17; ++row)
        for (int i = 0; i < half; ++i) {
          double angle = float(step.position[row]) * invFreq[i];
          double cos = float(std::cos(angle)) * factor, sin = float(std::sin(angle)) * factor;
          EXPECT_LE(ulps(type, out[row * 2 * half + i], cos), type == DType::F32 ? 1.1 : 0.51);
          EXPECT_LE(ulps(type, out[row * 2 * half + half + i], sin), type == DType::F32 ? 1.1 : 0.51);
        }
    }
}

TEST(Rope, RotatesHalvesAndInterleavedPairs) {
  for (DType type : activations)
    for (DType anglesType : activations)
      for (auto [headDim, rotaryDim, interleaved, roundProducts] :
           {std::tuple{64, 64, 0, 1}, {16, 16, 1, 0}, {40, 20, 1, 1}, {96, 48, 0, 0}}) {
        constexpr int heads = 3, rows = 4;
        Tensor in = randomTensor(type, rows * heads * headDim, 5),
               angles = randomTensor(anglesType, rows * rotaryDim, 6);
        Fields fields = {{"heads", int64_t(heads)},
                         {"headDim", int64_t(headDim)},
                         {"rotaryDim", int64_t(rotaryDim)},
                         {"interleaved", int64_t(interleaved)},
                         {"type", int64_t(type)},
                         {"anglesType", int64_t(anglesType)},
                         {"roundProducts", int64_t(roundProducts)}};
        Tensor out = runEverywhere("rope", fields, type, rows * heads * headDim, {in.data(), angles.data()},
                                   Step({{0, rows}}));
        auto r = [&](float v) { return roundProducts ? rounded(type, v) : v; };
        for (int head = 0; head < rows * heads; ++head)
          for (int i = 0; i < headDim; ++i) {
            const int base = head * headDim, half = rotaryDim / 2;
            float want = in[base + i];
            if (i < rotaryDim) {
              int pair = interleaved ? i / 2 : i % half;
              bool second = interleaved ? i % 2 : i >= half;
              int partner = interleaved ? i ^ 1 : (second ? i - half : i + half);
              float cos = angles[head / heads * rotaryDim + pair],
                    sin = angles[head / heads * rotaryDim + half + pair];
              float across = second ? in[base + partner] : -in[base + partner];
              want = rounded(type, r(in[base + i] * cos) + r(across * sin));
            }
            ASSERT_EQ(bitsOf(out[base + i]), bitsOf(want)) << "head " << head << " dim " << i;
          }
      }
}

TEST(Glu, IsActivationTimesUp) {
  for (DType type : activations)
    for (int activation : {0, 1, 2}) {
      constexpr int columns = 90, rows = 3;
      Tensor gate = randomTensor(type, rows * columns, 1, 3.0f), up = randomTensor(type, rows * columns, 2);
      float extremes[] = {-100.0f, 100.0f, 0.0f, -0.0f, 1e-30f, -20.0f, 88.9f, -88.9f};
      for (int i = 0; i < 8; ++i)
        gate.set(i, extremes[i]);
      Fields fields = {{"columns", int64_t(columns)},
                       {"activation", int64_t(activation)},
                       {"type", int64_t(type)},
                       {"roundActivation", int64_t(0)}};
      Tensor out =
          runEverywhere("glu", fields, type, rows * columns, {gate.data(), up.data()}, Step({{0, rows}}));
      for (int i = 0; i < rows * columns; ++i) {
        double x = gate[i], y = x / (1 + std::exp(-x));
        if (activation == 1)
          y = 0.5 * x * std::erfc(-x / std::sqrt(2.0));
        if (activation == 2)
          y = 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
        double want = y * up[i];
        // Below 1e-36 e^-x overflows, in the reference's f32 too. Where 1 + tanh or 1 + erf cancels, only the
        // absolute error is small, as in the reference's own f32.
        double slack = activation == 0 ? 0 : 3e-7 * std::abs(x * up[i]);
        EXPECT_LE(std::abs(out[i] - want),
                  std::ldexp(std::abs(want), type == DType::F32 ? -21 : -8) + slack + 1e-36)
            << "activation " << activation << " gate " << x;
      }
    }
}

TEST(Elementwise, AddScaleAndSoftcapRoundOnce) {
  for (DType type : activations) {
    constexpr int columns = 45, rows = 7;
    Tensor a = randomTensor(type, rows * columns, 1), b = randomTensor(type, rows * columns, 2);
    Step step({{0, rows}});
    Fields shape = {{"columns", int64_t(columns)}, {"type", int64_t(type)}};
    Fields scale = shape, softcap = shape;
    scale.emplace_back("factor", 0.37);
    softcap.emplace_back("cap", 0.75);
    Tensor sum = runEverywhere("add", shape, type, rows * columns, {a.data(), b.data()}, step);
    Tensor scaled = runEverywhere("scale", scale, type, rows * columns, {a.data()}, step);
    Tensor capped = runEverywhere("softcap", softcap, type, rows * columns, {a.data()}, step);
    for (int i = 0; i < rows * columns; ++i) {
      EXPECT_EQ(sum[i], rounded(type, a[i] + b[i]));
      EXPECT_EQ(scaled[i], rounded(type, a[i] * 0.37f));
      EXPECT_LE(ulps(type, capped[i], 0.75 * std::tanh(a[i] / 0.75)), type == DType::F32 ? 5 : 0.51);
    }
  }
}

TEST(Elementwise, CastWidensExactlyAndRoundsOnce) {
  constexpr int columns = 45, rows = 7;
  Step step({{0, rows}});
  for (DType from : activations)
    for (DType to : activations) {
      Tensor in = randomTensor(from, rows * columns, 1);
      Fields fields = {{"columns", int64_t(columns)}, {"inType", int64_t(from)}, {"outType", int64_t(to)}};
      Tensor out = runEverywhere("cast", fields, to, rows * columns, {in.data()}, step);
      for (int i = 0; i < rows * columns; ++i)
        EXPECT_EQ(out[i], rounded(to, in[i]));
    }
}

TEST(Embed, WidensAndScalesRowsOfAnyTable) {
  constexpr int columns = 96, vocabulary = 11;
  for (DType table : {DType::BF16, DType::F32, DType::F16, DType::Q8_0, DType::Q4_0, DType::Q4_1}) {
    Tensor weights = randomTensor(table, vocabulary * columns, 1);
    Step step({{0, 4}});
    step.token = {10, 0, 3, 3};
    for (double scale : {1.0, 9.75}) {
      Fields fields = {{"columns", int64_t(columns)},
                       {"tableType", int64_t(table)},
                       {"outType", int64_t(DType::F32)},
                       {"scale", scale}};
      Tensor wide = runEverywhere("embed", fields, DType::F32, 4 * columns, {weights.data()}, step);
      fields[2].second = int64_t(DType::BF16);
      Tensor narrow = runEverywhere("embed", fields, DType::BF16, 4 * columns, {weights.data()}, step);
      for (int i = 0; i < 4 * columns; ++i) {
        if (!isBlockQuantised(table)) {
          EXPECT_EQ(wide[i], weights[step.token[i / columns] * columns + i % columns] * float(scale));
        }
        EXPECT_EQ(narrow[i], rounded(DType::BF16, wide[i]));
      }
    }
  }
}

TEST(Embed, ReadsBlocksAsGgufDefinesThem) {
  // One Q4_1 block by hand: d = 0.5, m = -1, byte j = j | (15 - j) << 4.
  Tensor weights = zeros(DType::Q4_1, 32);
  uint16_t d = f32ToF16(0.5f), m = f32ToF16(-1.0f);
  std::memcpy(&weights.bytes[0], &d, 2);
  std::memcpy(&weights.bytes[2], &m, 2);
  for (int j = 0; j < 16; ++j)
    weights.bytes[4 + j] = (unsigned char)(j | (15 - j) << 4);
  Step step({{0, 1}});
  Fields fields = {{"columns", int64_t(32)},
                   {"tableType", int64_t(DType::Q4_1)},
                   {"outType", int64_t(DType::F32)},
                   {"scale", 1.0}};
  Tensor out = runEverywhere("embed", fields, DType::F32, 32, {weights.data()}, step);
  for (int j = 0; j < 16; ++j) {
    EXPECT_EQ(out[j], 0.5f * float(j) - 1.0f);
    EXPECT_EQ(out[16 + j], 0.5f * float(15 - j) - 1.0f);
  }
}

TEST(SelectRows, CopiesTheRowsWhoseLogitsAreWanted) {
  for (DType type : activations) {
    constexpr int columns = 37;
    Tensor in = randomTensor(type, 9 * columns, 1);
    Step step({{0, 4}, {7, 5}});
    step.logitsRow = {8, 3, 0};
    Fields fields = {{"columns", int64_t(columns)}, {"type", int64_t(type)}};
    Tensor out =
        runEverywhere("select_rows", fields, type, 3 * columns, {in.data()}, step, plan::Extent::LogitsRows);
    for (int i = 0; i < 3 * columns; ++i)
      EXPECT_EQ(out[i], in[step.logitsRow[i / columns] * columns + i % columns]);
  }
}
