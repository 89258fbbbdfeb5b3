// The linear kernel against a scalar statement of its canonical sum, bit for bit: every pair of types, one
// row and many, every ISA that this machine runs, odd shapes, subnormal numbers.
#include "test/unit/kernels_cpu/KernelHarness.h"
#include "test/unit/kernels_cpu/Reference.h"

#include <gtest/gtest.h>

using namespace fusebox;
using namespace fusebox::cpu;
using namespace fusebox::cpu::test;

namespace {

struct Case {
  int64_t in, out, rows;
  DType weight, inType, outType;
  bool bias = false, roundBeforeF32 = false;
};

Fields fieldsOf(const Case &c) {
  return {{"in", c.in},
          {"out", c.out},
          {"weightType", int64_t(c.weight)},
          {"inType", int64_t(c.inType)},
          {"outType", int64_t(c.outType)},
          {"hasBias", int64_t(c.bias)},
          {"biasType", int64_t(c.weight == DType::F32 ? DType::F32 : DType::BF16)},
          {"roundBeforeF32", int64_t(c.roundBeforeF32)}};
}

/// A row of weights, taken apart: plain values, or a block's integers, scale and minimum.
struct WeightRow {
  std::vector<float> values; ///< plain: the weights; blocks: the integers
  std::vector<float> scales, minima;
};

WeightRow weightRow(const Tensor &weight, int64_t row, int64_t in) {
  WeightRow result;
  if (!isBlockQuantised(weight.type)) {
    for (int64_t i = 0; i < in; ++i)
      result.values.push_back(weight[row * in + i]);
    return result;
  }
  const unsigned char *block = &weight.bytes[row * in / 32 * blockSize(weight.type).bytes];
  for (int64_t b = 0; b < in / 32; ++b, block += blockSize(weight.type).bytes) {
    uint16_t d, m;
    std::memcpy(&d, block, 2);
    std::memcpy(&m, block + 2, 2);
    result.scales.push_back(f16ToF32(d));
    result.minima.push_back(weight.type == DType::Q4_1 ? f16ToF32(m) : 0.0f);
    const unsigned char *quants = block + (weight.type == DType::Q4_1 ? 4 : 2);
    for (int j = 0; j < 32; ++j) {
      if (weight.type == DType::Q8_0)
        result.values.push_back(float(int8_t(quants[j])));
      else
        result.values.push_back(float(j < 16 ? quants[j] & 15 : quants[j - 16] >> 4) -
                                (weight.type == DType::Q4_0 ? 8.0f : 0.0f));
    }
  }
  return result;
}

float pairsDot(const std::vector<float> &x, const std::vector<float> &w) {
  float lane[16] = {};
  for (size_t first = 0; first < x.size(); first += 32)
    for (size_t i = 0; i < 16; ++i)
      for (size_t k : {first + 2 * i + 1, first + 2 * i})
        lane[i] = std::fma(k < x.size() ? x[k] : 0.0f, k < x.size() ? w[k] : 0.0f, lane[i]);
  return sumOfLanes(lane);
}

float f32Dot(const std::vector<float> &x, const std::vector<float> &w) {
  float lane[16] = {};
  for (size_t k = 0; k < x.size(); ++k)
    lane[k % 16] = std::fma(x[k], w[k], lane[k % 16]);
  return sumOfLanes(lane);
}

float blockDot(const std::vector<float> &x, const WeightRow &w, bool minimum) {
  float lane[16] = {}, low = 0.0f;
  for (size_t block = 0; block < x.size() / 32; ++block) {
    float sums[16];
    for (size_t i = 0; i < 16; ++i) {
      size_t even = block * 32 + 2 * i, odd = even + 1;
      lane[i] = std::fma(w.scales[block],
                         std::fma(x[even], w.values[even], std::fma(x[odd], w.values[odd], 0.0f)), lane[i]);
      sums[i] = x[even] + x[odd];
    }
    low = std::fma(w.minima[block], sumOfLanes(sums), low);
  }
  float sum = sumOfLanes(lane);
  return minimum ? sum + low : sum;
}

float expected(const Case &c, const std::vector<float> &x, const WeightRow &w) {
  if (isBlockQuantised(c.weight) && c.inType == DType::BF16)
    return blockDot(x, w, c.weight == DType::Q4_1);
  if (c.weight == DType::BF16 && c.inType == DType::BF16)
    return pairsDot(x, w.values);
  std::vector<float> widened = w.values;
  for (size_t i = 0; i < widened.size() && !w.scales.empty(); ++i)
    widened[i] = std::fma(w.scales[i / 32], widened[i], w.minima[i / 32]);
  return f32Dot(x, widened);
}

struct Data {
  Tensor in, weight, bias;
  explicit Data(const Case &c)
      : in(randomTensor(c.inType, c.rows * c.in, 1)), weight(randomTensor(c.weight, c.out * c.in, 2)),
        bias(randomTensor(c.weight == DType::F32 ? DType::F32 : DType::BF16, c.out, 3)) {}
};

Tensor compute(const Case &c, const CompiledCpuKernel &kernel, const Data &data, int variant = -1,
               bool backwards = false) {
  Tensor out = zeros(c.outType, c.rows * c.out);
  Step step({{0, int32_t(c.rows)}});
  kernel.run({out.data(), data.in.data(), data.weight.data(), data.bias.data()}, step, variant, backwards);
  return out;
}

Tensor reference(const Case &c, const Data &data) {
  FlushDenormals flush;
  Tensor out = zeros(c.outType, c.rows * c.out);
  for (int64_t column = 0; column < c.out; ++column) {
    WeightRow w = weightRow(data.weight, column, c.in);
    for (int64_t row = 0; row < c.rows; ++row) {
      std::vector<float> x;
      for (int64_t i = 0; i < c.in; ++i)
        x.push_back(data.in[row * c.in + i]);
      float value = expected(c, x, w);
      if (c.bias)
        value += data.bias[column];
      if (c.roundBeforeF32)
        value = rounded(DType::BF16, value);
      out.set(row * c.out + column, value);
    }
  }
  return out;
}

bool isCommon(const Case &c) {
  return c.weight == DType::BF16 || (c.weight == DType::Q4_1 && c.inType == DType::BF16);
}

void check(const Case &c) {
  Data data(c);
  Tensor want = reference(c, data);
  for (const std::string &target : targetsFor(isCommon(c))) {
    SCOPED_TRACE(target + " in " + std::to_string(c.in) + " out " + std::to_string(c.out) + " rows " +
                 std::to_string(c.rows) + " " + std::string(dtypeName(c.weight)) + " " +
                 std::string(dtypeName(c.inType)));
    CompiledCpuKernel kernel("linear", fieldsOf(c), target);
    for (int variant = 0; variant < int(kernel.variants.size()); ++variant) {
      Tensor got = compute(c, kernel, data, variant, variant == 1);
      for (int64_t i = 0; i < c.rows * c.out; ++i)
        ASSERT_EQ(bitsOf(got[i]), bitsOf(want[i]))
            << "variant " << variant << " element " << i << ": " << got[i] << " for " << want[i];
    }
  }
}

constexpr DType weights[] = {DType::BF16, DType::F32, DType::F16, DType::Q8_0, DType::Q4_0, DType::Q4_1};

class LinearTypes : public testing::TestWithParam<std::tuple<DType, DType>> {};

} // namespace

TEST_P(LinearTypes, VectorAndMatrixVariantsGiveTheCanonicalSum) {
  auto [weight, in] = GetParam();
  check({.in = 96, .out = 50, .rows = 9, .weight = weight, .inType = in, .outType = in, .bias = true});
}

INSTANTIATE_TEST_SUITE_P(All, LinearTypes,
                         testing::Combine(testing::ValuesIn(weights),
                                          testing::Values(DType::BF16, DType::F32)));

TEST(Linear, TakesAnyNumberOfColumnsAndRows) {
  check({.in = 77,
         .out = 13,
         .rows = 5,
         .weight = DType::BF16,
         .inType = DType::BF16,
         .outType = DType::F32,
         .roundBeforeF32 = true});
  check({.in = 3, .out = 1, .rows = 2, .weight = DType::F32, .inType = DType::F32, .outType = DType::F32});
  check({.in = 64,
         .out = 200,
         .rows = 131,
         .weight = DType::Q4_1,
         .inType = DType::BF16,
         .outType = DType::BF16});
}

TEST(Linear, CutsLongSumsWithoutChangingThem) {
  check(
      {.in = 3200, .out = 7, .rows = 6, .weight = DType::BF16, .inType = DType::BF16, .outType = DType::F32});
  check(
      {.in = 3232, .out = 6, .rows = 5, .weight = DType::Q4_1, .inType = DType::BF16, .outType = DType::F32});
  check({.in = 1610, .out = 7, .rows = 5, .weight = DType::F32, .inType = DType::F32, .outType = DType::F32});
}

TEST(Linear, GivesTheSameBitsUnspecialised) {
  Case c = {
      .in = 96, .out = 50, .rows = 9, .weight = DType::BF16, .inType = DType::BF16, .outType = DType::BF16};
  Data data(c);
  CompiledCpuKernel general("linear", fieldsOf(c), "native", plan::Extent::Tokens, Specialise::TypesOnly);
  for (int variant : {0, 1})
    EXPECT_EQ(compute(c, general, data, variant).bytes, reference(c, data).bytes) << "variant " << variant;
}

TEST(Linear, FlushesSubnormalsAlikeOnEveryIsa) {
  Case c = {
      .in = 64, .out = 16, .rows = 4, .weight = DType::BF16, .inType = DType::BF16, .outType = DType::F32};
  Data data(c);
  // Tiny factors: products and sums around the smallest normal number, and subnormal inputs.
  for (int64_t i = 0; i < c.rows * c.in; ++i)
    data.in.set(i, std::ldexp(data.in[i], -64 - int(i % 3) * 30));
  for (int64_t i = 0; i < c.out * c.in; ++i)
    data.weight.set(i, std::ldexp(data.weight[i], -63 - int(i % 5) * 16));
  Tensor want = reference(c, data);
  for (const std::string &target : runnableTargets()) {
    CompiledCpuKernel kernel("linear", fieldsOf(c), target);
    for (int variant : {0, 1})
      EXPECT_EQ(compute(c, kernel, data, variant).bytes, want.bytes) << target << " variant " << variant;
  }
}

TEST(LinearInt8, GivesTheSameBitsInEveryVariantNearTheExactResult) {
  for (DType weight : {DType::Q8_0, DType::Q4_0, DType::Q4_1})
    for (auto [in, out, rows] : {std::tuple{96, 21, 7}}) {
      Case c = {.in = in,
                .out = out,
                .rows = rows,
                .weight = weight,
                .inType = DType::BF16,
                .outType = DType::F32,
                .bias = true};
      Data data(c);
      // The largest quants, whose unsigned forms and sums are the extremes.
      for (int64_t i = 0; i < 32; ++i)
        data.weight.bytes[(weight == DType::Q4_1 ? 4 : 2) + i % 16] = 0xff;
      Tensor exact = reference(c, data);
      std::optional<Tensor> first;
      for (const std::string &target : runnableTargets()) {
        CompiledCpuKernel kernel("linear_int8", fieldsOf(c), target);
        for (int variant : {0, 1}) {
          Tensor got = compute(c, kernel, data, variant);
          if (first) {
            ASSERT_EQ(got.bytes, first->bytes) << target << " variant " << variant;
          }
          first = got;
        }
      }
      double error = 0, size = 0;
      for (int64_t i = 0; i < c.rows * c.out; ++i) {
        error += std::pow((*first)[i] - exact[i], 2);
        size += std::pow(exact[i], 2);
      }
      EXPECT_LT(std::sqrt(error / size), 0.01) << dtypeName(weight);
    }
}

TEST(Linear, RefusesWhatItCannotCompute) {
  Case c = {
      .in = 96, .out = 4, .rows = 1, .weight = DType::Q6_K, .inType = DType::BF16, .outType = DType::BF16};
  auto variants = kernelVariants("linear", fieldsOf(c), plan::Extent::Tokens);
  ASSERT_FALSE(variants);
  EXPECT_EQ(variants.error().message, "no CPU kernel: linear with weightType q6_k");
  EXPECT_FALSE(kernelVariants("convolution", {}, plan::Extent::Tokens));
}
