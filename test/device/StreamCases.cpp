// linear_stream and linear_stream_blocks against f64: bf16 and GGUF's blocks, bias, residual, odd shapes, the
// ring in use again; bits of a row at every batch and grid.
#include "test/device/Reference.h"

#include "support/DType.h"
#include "test/device/ModelShapes.h"

#include <cstring>

namespace fusebox::gputest {

namespace {

struct Form {
  const char *name;
  int in, out;
  DType type;
  bool bias, residual;
};

struct StreamRun {
  const Form &form;
  int rows;
  std::vector<uint16_t> x, residual;
  std::vector<float> bias;
  std::vector<uint8_t> weights;

  StreamRun(const Form &form, int rows) : form(form), rows(rows) {
    x = randomBf16(size_t(rows) * form.in, 1);
    residual = randomBf16(size_t(rows) * form.out, 3);
    for (uint16_t v : randomBf16(size_t(form.out), 20))
      bias.push_back(bf16ToF32(v));
    fillWeights();
  }

  cuda::KernelRequest request(int maxRows) const {
    return streamed({{"in", form.in},
                     {"out", form.out},
                     {"weightType", double(form.type)},
                     {"hasBias", form.bias},
                     {"biasType", 1}},
                    maxRows, form.residual ? residualSum() : roundedSum());
  }

  /// The matrix as it is stored.
  void fillWeights() {
    size_t count = size_t(form.out) * form.in;
    BlockSize block = blockSize(form.type);
    weights.resize(count / block.elements * block.bytes);
    if (block.elements == 1) {
      std::vector<uint16_t> values = randomBf16(count, 10, 1 / std::sqrt(form.in));
      std::memcpy(weights.data(), values.data(), weights.size());
      return;
    }
    std::mt19937 engine(10);
    for (uint8_t &byte : weights)
      byte = uint8_t(engine());
    // Scales and minima: f16 of 2^-9 to 2^-7, minima also negative.
    for (size_t at = 0; at < weights.size(); at += block.bytes) {
      weights[at + 1] = uint8_t(0x18 + weights[at + 1] % 8);
      if (form.type == DType::Q4_1)
        weights[at + 3] = uint8_t((weights[at + 3] & 0x80) + 0x20 + weights[at + 3] % 8);
    }
  }

  double weight(int output, int k) const {
    size_t index = size_t(output) * form.in + k;
    if (form.type == DType::BF16) {
      uint16_t bits;
      std::memcpy(&bits, weights.data() + index * 2, 2);
      return bf16Value(bits);
    }
    const uint8_t *block = weights.data() + index / 32 * blockSize(form.type).bytes;
    auto half = [](const uint8_t *p) { // normal numbers only
      return std::ldexp(1024 + (p[1] & 3) * 256 + p[0], (p[1] >> 2 & 31) - 25) * (p[1] & 0x80 ? -1 : 1);
    };
    int i = int(index % 32);
    if (form.type == DType::Q8_0)
      return half(block) * int8_t(block[2 + i]);
    bool minimum = form.type == DType::Q4_1;
    int number = block[(minimum ? 4 : 2) + i % 16] >> (i < 16 ? 0 : 4) & 15;
    return minimum ? half(block) * number + half(block + 2) : half(block) * (number - 8);
  }

  /// Runs rows [first, first + count).
  std::vector<uint16_t> run(Gpu &gpu, const cuda::KernelRequest &kernel, int first, int count,
                            unsigned blocks) const {
    auto slice = [&](const std::vector<uint16_t> &v, int columns) {
      return gpu.upload(std::vector<uint16_t>(v.begin() + ptrdiff_t(first) * columns,
                                              v.begin() + ptrdiff_t(first + count) * columns));
    };
    Memory out = gpu.allocate(size_t(count) * form.out * 2), in = slice(x, form.in), w = gpu.upload(weights),
           b = gpu.upload(bias), more = slice(residual, form.out);
    gpu.fill(out, 0xff);
    std::vector<cuda::DevicePtr> args = {out.address, in.address, w.address};
    if (form.bias)
      args.push_back(b.address);
    if (form.residual)
      args.push_back(more.address);
    std::vector<int> zeros(size_t(count), 0), positions(size_t(count), 5);
    DeviceStep step = gpu.step(zeros, positions, zeros, 1);
    gpu.launch(kernel, args, step.view, blocks);
    gpu.synchronise(form.name);
    return gpu.download<uint16_t>(out, size_t(count) * form.out);
  }

  Comparison compare(const std::vector<uint16_t> &got) const {
    Comparison comparison;
    for (int r = 0; r < rows; ++r)
      for (int o = 0; o < form.out; o += 1 + o % 3 + form.out / 8192) {
        double want = form.bias ? bias[size_t(o)] : 0;
        for (int k = 0; k < form.in; ++k)
          want += bf16Value(x[size_t(r) * form.in + k]) * weight(o, k);
        size_t at = size_t(r) * form.out + o;
        if (form.residual)
          want = roundedBf16(want) + bf16Value(residual[at]);
        comparison.add(bf16Value(got[at]), want, 2e-2);
      }
    return comparison;
  }
};

constexpr Form forms[] = {
    {"streamed product 1024 to 6000", 1024, 6000, DType::BF16, false, false},
    {"streamed product 2048 to 250, bias", 2048, 250, DType::BF16, true, false},
    {"streamed product 5632 to 300, residual", 5632, 300, DType::BF16, false, true},
    {"streamed product 40 to 7", 40, 7, DType::BF16, false, false},
    {"streamed product 9728 to 300, bias", 9728, 300, DType::BF16, true, false},
    {"streamed product 14336 to 4100, residual", 14336, 4100, DType::BF16, false, true},
    {"streamed product 1024 to 3000, Q8_0", 1024, 3000, DType::Q8_0, false, true},
    {"streamed product 5632 to 200, Q8_0", 5632, 200, DType::Q8_0, false, false},
    {"streamed product 2048 to 1400, Q4_1", 2048, 1400, DType::Q4_1, false, false},
    {"streamed product 3072 to 100, Q4_1, bias", 3072, 100, DType::Q4_1, true, false},
    {"streamed product 1024 to 300, Q4_0", 1024, 300, DType::Q4_0, false, true},
    {"streamed product 5632 to 2048, Q4_1", 5632, 2048, DType::Q4_1, false, true},
    {"streamed product 5632 to 2048, Q4_0", 5632, 2048, DType::Q4_0, false, false},
    {"streamed product 1024 to 9002, Q8_0", 1024, 9002, DType::Q8_0, false, false},
    {"streamed product 576 to 9000, Q8_0", 576, 9000, DType::Q8_0, false, false},
    {"streamed product 576 to 6000, Q4_0, bias", 576, 6000, DType::Q4_0, true, false},
    {"streamed product 576 to 1537, Q4_1", 576, 1537, DType::Q4_1, false, false},
    {"streamed product 960 to 3000, Q4_1", 960, 3000, DType::Q4_1, true, true},
    {"streamed product 64 to 7, Q8_0", 64, 7, DType::Q8_0, false, false},
    {"streamed product 1024 to 65000, Q8_0", 1024, 65000, DType::Q8_0, false, true},
    {"streamed product 1024 to 110000, Q4_1", 1024, 110000, DType::Q4_1, false, false},
};

} // namespace

void addStreamCases(std::vector<Case> &cases) {
  for (const Form &form : forms) {
    StreamRun shapes(form, 0);
    cuda::KernelRequest large = shapes.request(16), small = shapes.request(1), eight = shapes.request(8);
    cases.push_back(
        {form.name, {large, small, eight}, [&form, large, small, eight](Gpu &gpu) {
           StreamRun run(form, 16);
           std::vector<uint16_t> out = run.run(gpu, large, 0, 16, 0);
           Comparison comparison = run.compare(out);
           bool same = true;
           auto check = [&](const cuda::KernelRequest &kernel, int row, int count, unsigned blocks) {
             same = same && !std::memcmp(run.run(gpu, kernel, row, count, blocks).data(),
                                         out.data() + size_t(row) * form.out, size_t(count) * form.out * 2);
           };
           check(small, 0, 1, 0), check(small, 5, 1, 1), check(small, 15, 1, 3);
           check(eight, 3, 8, 0), check(large, 2, 11, 5);
           Outcome outcome =
               comparison.outcome(same ? "same bits in other batches and grids" : "BITS DIFFER");
           outcome.passed = outcome.passed && same;
           return outcome;
         }});
  }
}

} // namespace fusebox::gputest
