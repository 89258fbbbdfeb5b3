// The merged kernels against the kernels of the launches they stand for, bit for bit. Their arguments lie
// among others, in an order that is not the kernel's.
#include "kernels/cpu/AttentionRow.h"
#include "kernels/cpu/LinearRow.h"
#include "test/unit/kernels_cpu/KernelHarness.h"
#include "test/unit/kernels_cpu/Reference.h"

#include <gtest/gtest.h>

using namespace fusebox;
using namespace fusebox::cpu;
using namespace fusebox::cpu::test;

namespace {

/// Constants `place<i>` for `count` arguments, and the arguments where these say: from the back, one apart.
Fields withPlaces(Fields fields, size_t count) {
  for (size_t i = 0; i < count; ++i)
    fields.emplace_back("place" + std::to_string(i), int64_t(2 * (count - i) - 1));
  return fields;
}
std::vector<const void *> atPlaces(const std::vector<const void *> &args) {
  std::vector<const void *> placed(2 * args.size(), nullptr);
  for (size_t i = 0; i < args.size(); ++i)
    placed[2 * (args.size() - i) - 1] = args[i];
  return placed;
}

Fields joined(Fields fields, const Fields &more) {
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}

Fields normConstants(DType gain) {
  return {
      {"gainType", int64_t(gain)}, {"roundNormalised", int64_t(1)}, {"onePlus", int64_t(0)}, {"eps", 1e-5}};
}

struct Case {
  int64_t in, out;
  DType weight = DType::BF16, type = DType::BF16;
  LinearRowEnding ending = LinearRowEnding::None;
  bool norm = false, bias = false;
  int64_t activation = 0;
  DType outType = type;
};

class LinearRow {
public:
  LinearRow(const Case &c, const std::string &target) : c(c), target(target) {}

  /// By linear_row, its tasks in order or backwards.
  Tensor merged(bool backwards) {
    Fields fields = joined(joined(linear, normConstants(c.type)), {{"ending", int64_t(c.ending)},
                                                                   {"activation", c.activation},
                                                                   {"roundActivation", int64_t(1)},
                                                                   {"norm", int64_t(c.norm)}});
    Tensor out = zeros(c.outType, c.out);
    run("linear_row", withPlaces(fields, size_t(LinearRowArg::Count)),
        atPlaces({out.data(), x.data(), weight.data(), second.data(), bias.data(), secondBias.data(),
                  gain.data(), residual.data()}),
        backwards);
    return out;
  }

  /// By one launch after another.
  Tensor separate() {
    Tensor input = x;
    if (c.norm)
      run("norm",
          joined(normConstants(c.type),
                 {{"columns", c.in}, {"groups", int64_t(1)}, {"type", int64_t(c.type)}}),
          {input.data(), x.data(), gain.data()});
    Tensor out = zeros(c.outType, c.out), up = out;
    run("linear", linear, {out.data(), input.data(), weight.data(), bias.data()});
    Fields pointwise = {{"columns", c.out}, {"type", int64_t(c.outType)}};
    if (c.ending == LinearRowEnding::Residual)
      run("add", pointwise, {out.data(), out.data(), residual.data()});
    if (c.ending != LinearRowEnding::Glu)
      return out;
    run("linear", linear, {up.data(), input.data(), second.data(), secondBias.data()});
    run("glu", joined(pointwise, {{"activation", c.activation}, {"roundActivation", int64_t(1)}}),
        {out.data(), out.data(), up.data()});
    return out;
  }

private:
  const Case c;
  const std::string target;
  const Fields linear = {{"in", c.in},
                         {"out", c.out},
                         {"weightType", int64_t(c.weight)},
                         {"inType", int64_t(c.type)},
                         {"outType", int64_t(c.outType)},
                         {"hasBias", int64_t(c.bias)},
                         {"biasType", int64_t(DType::BF16)},
                         {"roundBeforeF32", int64_t(c.type != c.outType)}};
  const Tensor x = randomTensor(c.type, c.in, 1), weight = randomTensor(c.weight, c.in *c.out, 2),
               second = randomTensor(c.weight, c.in *c.out, 3), bias = randomTensor(DType::BF16, c.out, 4),
               secondBias = randomTensor(DType::BF16, c.out, 5), gain = randomTensor(c.type, c.in, 6),
               residual = randomTensor(c.outType, c.out, 7);

  void run(const std::string &kernel, const Fields &fields, const std::vector<const void *> &args,
           bool backwards = false) {
    CompiledCpuKernel(kernel, fields, target).run(args, Step({{0, 1}}), -1, backwards);
  }
};

void checkLinear(const Case &c) {
  for (const std::string &target : targetsFor(c.weight == DType::BF16)) {
    SCOPED_TRACE(target + " " + std::string(dtypeName(c.weight)) + " ending " +
                 std::to_string(int64_t(c.ending)));
    LinearRow row(c, target);
    Tensor want = row.separate();
    EXPECT_EQ(row.merged(false).bytes, want.bytes);
    EXPECT_EQ(row.merged(true).bytes, want.bytes) << "tasks backwards";
  }
}

} // namespace

TEST(LinearRow, AddsTheResidualToTheRoundedProduct) {
  checkLinear({.in = 576, .out = 200, .ending = LinearRowEnding::Residual});
  checkLinear({.in = 77, .out = 50, .ending = LinearRowEnding::Residual, .bias = true});
}

TEST(LinearRow, ActivatesGateAndUp) {
  for (int64_t activation : {0, 1})
    checkLinear({.in = 96,
                 .out = 50,
                 .ending = LinearRowEnding::Glu,
                 .norm = true,
                 .bias = true,
                 .activation = activation});
}

TEST(LinearRow, NormsItsInputOnceAThread) {
  checkLinear({.in = 576, .out = 192, .norm = true});
  checkLinear({.in = 70, .out = 1000, .norm = true, .outType = DType::F32});
}

TEST(LinearRow, TakesOtherTypes) {
  using enum LinearRowEnding;
  checkLinear({.in = 96, .out = 3000, .weight = DType::Q4_1, .ending = Glu, .norm = true});
  checkLinear({.in = 96, .out = 40, .weight = DType::Q8_0, .ending = Residual});
  checkLinear({.in = 64, .out = 40, .weight = DType::F32, .type = DType::F32, .ending = Glu, .norm = true});
}

namespace {

struct HeadsCase {
  int64_t heads, kvHeads, headDim;
  DType type = DType::BF16, angles = DType::BF16;
  bool norm = false, interleaved = false;
  int64_t rotaryDim = headDim;
};

/// One token after `position` others; what they left in the cache is random.
class AttentionRow {
public:
  AttentionRow(const HeadsCase &c, int32_t position, const std::string &target)
      : c(c), target(target), step({{position, 1}}, position / 64 + 1),
        pool(randomTensor(c.type, int64_t(step.maxPages) * 128 * c.kvHeads * c.headDim, 1)) {}

  struct Outcome {
    Tensor out, pool;
    bool operator==(const Outcome &) const = default;
  };

  Outcome merged(bool backwards) {
    Outcome result = {zeros(c.type, qSize), pool};
    Fields fields = joined(joined(attention, rope), normConstants(c.type));
    fields.emplace_back("norm", int64_t(c.norm));
    run("attention_row", withPlaces(fields, size_t(AttentionRowArg::Count)),
        atPlaces({result.out.data(), result.pool.data(), q.data(), k.data(), v.data(), angles.data(),
                  qGain.data(), kGain.data()}),
        backwards);
    return result;
  }

  Outcome separate() {
    Outcome result = {zeros(c.type, qSize), pool};
    Tensor query = prepared(q, qGain, c.heads), key = prepared(k, kGain, c.kvHeads);
    run("kv_write", {{"kvHeads", c.kvHeads}, {"headDim", c.headDim}, {"type", int64_t(c.type)}},
        {result.pool.data(), key.data(), v.data()});
    run("attention", attention, {result.out.data(), query.data(), result.pool.data()});
    return result;
  }

private:
  const HeadsCase c;
  const std::string target;
  const Step step;
  const int64_t qSize = c.heads * c.headDim, kSize = c.kvHeads * c.headDim;
  const Tensor pool, q = randomTensor(c.type, qSize, 2), k = randomTensor(c.type, kSize, 3),
                     v = randomTensor(c.type, kSize, 4), angles = randomTensor(c.angles, c.rotaryDim, 5),
                     qGain = randomTensor(c.type, c.headDim, 6), kGain = randomTensor(c.type, c.headDim, 7);
  const Fields attention = {{"heads", c.heads},        {"kvHeads", c.kvHeads},  {"headDim", c.headDim},
                            {"type", int64_t(c.type)}, {"scale", 0.125},        {"window", int64_t(0)},
                            {"softcap", 0.0},          {"rounding", int64_t(0)}};
  const Fields rope = {{"rotaryDim", c.rotaryDim},
                       {"interleaved", int64_t(c.interleaved)},
                       {"anglesType", int64_t(c.angles)},
                       {"roundProducts", int64_t(1)}};

  Tensor prepared(const Tensor &in, const Tensor &gain, int64_t heads) {
    Tensor normed = in, turned = in;
    if (c.norm)
      run("norm",
          joined(normConstants(c.type),
                 {{"columns", c.headDim}, {"groups", heads}, {"type", int64_t(c.type)}}),
          {normed.data(), in.data(), gain.data()});
    run("rope", joined(rope, {{"heads", heads}, {"headDim", c.headDim}, {"type", int64_t(c.type)}}),
        {turned.data(), normed.data(), angles.data()});
    return turned;
  }

  void run(const std::string &kernel, const Fields &fields, const std::vector<const void *> &args,
           bool backwards = false) {
    CompiledCpuKernel(kernel, fields, target).run(args, step, -1, backwards);
  }
};

void checkHeads(const HeadsCase &c) {
  for (const std::string &target : targetsFor(c.angles == DType::BF16))
    for (int32_t position : {0, 63, 130}) {
      SCOPED_TRACE(target + " position " + std::to_string(position));
      AttentionRow row(c, position, target);
      EXPECT_TRUE(row.merged(false) == row.separate());
      EXPECT_TRUE(row.merged(true) == row.separate()) << "tasks backwards";
    }
}

} // namespace

TEST(AttentionRow, IsRotationKvWriteAndAttention) {
  checkHeads({.heads = 9, .kvHeads = 3, .headDim = 64});
  checkHeads({.heads = 2, .kvHeads = 1, .headDim = 64, .type = DType::F32, .angles = DType::F32});
}

TEST(AttentionRow, NormsHeadsAndTurnsPartOfThem) {
  checkHeads({.heads = 4, .kvHeads = 2, .headDim = 40, .angles = DType::F32, .norm = true});
  checkHeads({.heads = 4, .kvHeads = 4, .headDim = 32, .norm = true, .interleaved = true, .rotaryDim = 24});
}
