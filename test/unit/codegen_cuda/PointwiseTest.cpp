// Generated pointwise bodies: the C++ that codegen emits, compiled for this machine, gives the oracle's bits;
// and NVRTC takes the kernels for every chip.
#include "test/device/Chain.h"

#include "kernels/cuda/KernelSource.h"
#include "runtime/cuda/Nvrtc.h"
#include "support/Float.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <dlfcn.h>
#include <filesystem>
#include <fstream>
#include <random>
#include <unistd.h>

using namespace fusebox;
using gputest::Chain;

namespace {

/// What the emitted text needs beside the C library, for a CPU.
constexpr const char shim[] = R"(
#include "support/Float.h"
#include <cmath>
#define __device__
#define __forceinline__ inline
static float __fadd_rn(float a, float b) { return a + b; }
static float __fsub_rn(float a, float b) { return a - b; }
static float __fmul_rn(float a, float b) { return a * b; }
static float __fdiv_rn(float a, float b) { return a / b; }
namespace fusebox {
template <int... T> struct Types { static constexpr int count = sizeof...(T); };
template <int T> float roundTo(float v) {
  return T == 3 ? bf16ToF32(f32ToBf16(v)) : T == 2 ? float(_Float16(v)) : v;
}
}
)";

std::vector<Chain> chains() {
  const std::string round = "%p = layer.cast %sum : !f -> !b\n";
  std::vector<Chain> all;
  all.emplace_back("add", "%a: !b, %b: !b", "%r = layer.add %a, %b : !b");
  all.emplace_back("add_f32", "%a: !f, %b: !f", "%r = layer.add %a, %b : !f");
  all.emplace_back("scale", "%a: !b", "%r = layer.scale %a by 0.37 : !b");
  all.emplace_back("softcap", "%a: !b", "%r = layer.softcap %a at 30.0 : !b");
  all.emplace_back("widen", "%a: !b", "%r = layer.cast %a : !b -> !f");
  all.emplace_back("narrow", "%a: !f", "%r = layer.cast %a : !f -> !b");
  for (std::string activation : {"silu", "gelu", "gelu_tanh"})
    for (std::string rounds : {"activation_and_product", "product"})
      all.emplace_back(activation + "_" + rounds, "%a: !b, %b: !b",
                       "%r = layer.glu " + activation + " %a, %b rounds " + rounds + " : !b");
  all.emplace_back("scale_add", "%a: !b, %b: !b",
                   "%s = layer.scale %a by 0.22 : !b\n%r = layer.add %b, %s : !b");
  all.emplace_back("add_softcap", "%a: !b, %b: !b",
                   "%s = layer.add %a, %b : !b\n%r = layer.softcap %s at 2.0 : !b");
  all.emplace_back("linear_scale_add", "%sum: !f, %h: !b",
                   round + "%s = layer.scale %p by 0.22 : !b\n%r = layer.add %h, %s : !b");
  all.emplace_back("linear_scale_softcap_cast", "%sum: !f",
                   round + "%s = layer.scale %p by 0.0625 : !b\n%c = layer.softcap %s at 30.0 : !b\n"
                           "%r = layer.cast %c : !b -> !f");
  return all;
}

using Function = void (*)(const float *in, float *out, size_t count);

/// The emitted bodies as functions of arrays, input after input: compiled by the compiler this test was built
/// with.
class Compiled {
public:
  explicit Compiled(const std::vector<Chain> &chains) {
    std::string pattern = (std::filesystem::temp_directory_path() / "fusebox-pointwise-XXXXXX").string();
    folder = mkdtemp(pattern.data());
    std::ofstream file(folder / "bodies.cpp");
    file << shim;
    for (const Chain &chain : chains)
      file << "namespace of_" << chain.name() << " {\n"
           << chain.body() << "}\n"
           << "extern \"C\" void run_" << chain.name()
           << "(const float *in, float *out, unsigned long count) {\n"
           << "  using Body = of_" << chain.name()
           << "::Body;\n  constexpr int inputs = Body::Inputs::count;\n"
           << "  for (unsigned long i = 0; i < count; ++i) {\n    float v[inputs];\n"
           << "    for (int k = 0; k < inputs; ++k)\n      v[k] = in[k * count + i];\n"
           << "    out[i] = Body::apply(v);\n  }\n}\n";
    file.close();
    std::string command = FUSEBOX_CXX " -std=c++20 -O1 -ffp-contract=off -fPIC -shared -I" FUSEBOX_SOURCES
                                      " -o " +
                          (folder / "bodies.so").string() + " " + (folder / "bodies.cpp").string();
    if (std::system(command.c_str()) == 0)
      library = dlopen((folder / "bodies.so").c_str(), RTLD_NOW | RTLD_LOCAL);
  }
  ~Compiled() {
    if (library)
      dlclose(library);
    std::filesystem::remove_all(folder);
  }
  Function find(const std::string &name) const {
    return library ? reinterpret_cast<Function>(dlsym(library, ("run_" + name).c_str())) : nullptr;
  }

private:
  std::filesystem::path folder;
  void *library = nullptr;
};

/// Values of bf16, among them every kind there is; all exact in f32 too.
std::vector<double> someValues(unsigned seed) {
  std::vector<double> values = {0.0,         -0.0,     INFINITY, -INFINITY,        NAN,         1,
                                -1,          0x1p-126, 0x1p-133, -0x1p-133,        0x1.fep-127, 0x1.fep127,
                                -0x1.fep127, 88.5,     -88.5,    0x1p-149 * 0x1p16};
  std::mt19937 engine(seed);
  std::normal_distribution<double> normal(0, 3);
  std::uniform_int_distribution<uint32_t> bits(0, 0xffff);
  while (values.size() < 2000)
    values.push_back(bf16ToF32(f64ToBf16(normal(engine))));
  while (values.size() < 4000)
    values.push_back(bf16ToF32(uint16_t(bits(engine))));
  std::shuffle(values.begin(), values.end(), engine);
  return values;
}

} // namespace

TEST(Pointwise, EmittedBodiesGiveTheOraclesBits) {
  std::vector<Chain> all = chains();
  Compiled compiled(all);
  std::vector<std::vector<double>> inputs = {someValues(1), someValues(2)};
  size_t count = inputs[0].size();
  std::vector<float> in, out(count);
  for (const auto &input : inputs)
    in.insert(in.end(), input.begin(), input.end());
  for (const Chain &chain : all) {
    Function run = compiled.find(chain.name());
    ASSERT_TRUE(run) << chain.name();
    run(in.data(), out.data(), count);
    std::vector<double> expected = chain.expected(inputs);
    for (size_t i = 0; i < count; ++i) {
      float want = float(expected[i]);
      bool same = std::isnan(want) ? std::isnan(out[i])
                                   : std::bit_cast<uint32_t>(want) == std::bit_cast<uint32_t>(out[i]);
      ASSERT_TRUE(same) << chain.name() << " of " << inputs[0][i] << ", " << inputs[1][i] << ": " << out[i]
                        << ", not " << want;
    }
  }
}

TEST(Pointwise, EveryRoundingPointIsKept) {
  std::string text = Chain("chain", "%sum: !f, %h: !b",
                           "%p = layer.cast %sum : !f -> !b\n%s = layer.scale %p by 0.22 : !b\n"
                           "%r = layer.add %h, %s : !b")
                         .ir();
  size_t roundings = 0;
  for (size_t at = text.find("arith.truncf"); at != std::string::npos; at = text.find("arith.truncf", at + 1))
    ++roundings;
  EXPECT_EQ(roundings, 3u) << text;
}

TEST(Pointwise, EmittedTextIsPlain) {
  EXPECT_EQ(Chain("chain", "%sum: !f, %h: !b",
                  "%p = layer.cast %sum : !f -> !b\n%s = layer.scale %p by 0.25 : !b\n"
                  "%r = layer.add %h, %s : !b")
                .body(),
            R"(struct Body {
  using Inputs = fusebox::Types<1, 3>;
  static constexpr int result = 3;
  static __device__ __forceinline__ float apply(const float *in) {
    const float v0 = in[0];
    const float v1 = in[1];
    const float v2 = fusebox::roundTo<3>(v0);
    const float v3 = 0x1p-2f;
    const float v4 = __fmul_rn(v2, v3);
    const float v5 = fusebox::roundTo<3>(v4);
    const float v6 = __fadd_rn(v1, v5);
    const float v7 = fusebox::roundTo<3>(v6);
    return v7;
  }
};
)");
}

TEST(Pointwise, KernelsCompileForEveryChip) {
  if (auto version = cuda::nvrtcVersion(); !version)
    GTEST_SKIP() << version.error().message;
  std::string chain = chains().back().body();
  cuda::KernelRequest requests[] = {
      {"pointwise",
       {{"columns", 1000}},
       Chain("s", "%a: !b, %b: !f",
             "%s = layer.cast %b : !f -> !b\n"
             "%r = layer.glu gelu %a, %s rounds product : !b")
           .body()},
      {"linear_any",
       {{"in", 64}, {"out", 64}, {"weightType", 3}, {"inType", 3}, {"rowTile", 1}, {"warpOutputs", 1}},
       chain}};
  for (const cuda::KernelRequest &request : requests) {
    auto source = cuda::kernelSource(request);
    ASSERT_TRUE(source) << source.error().message;
    for (const cuda::Chip &chip : cuda::chips()) {
      auto module = cuda::compileCuda(*source, request.symbol, chip.name);
      ASSERT_TRUE(module) << module.error().message;
      for (const cuda::KernelResources &kernel : module->kernels)
        EXPECT_EQ(kernel.spillBytes, 0u) << chip.name;
    }
  }
}
