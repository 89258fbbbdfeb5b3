// What memory gives: the fastest plain read (the floor of everything else), launches that only read, products
// with rotated weights in a graph, decode attention over a large cache.
#include "support/DType.h"
#include "test/device/ModelShapes.h"

#include <cstdio>

namespace fusebox::gputest {

double measuredBandwidth = 0;

namespace {

const char *const readMemory = R"cuda(
extern "C" __global__ void __launch_bounds__(512, 4) read_memory(const uint4 *data, unsigned long long count, unsigned *out) {
  const unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
  unsigned sum = 0;
  unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x;
  for (; i + 7 * stride < count; i += 8 * stride) {
    uint4 v[8];
#pragma unroll
    for (int j = 0; j < 8; ++j)
      asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
                   : "=r"(v[j].x), "=r"(v[j].y), "=r"(v[j].z), "=r"(v[j].w) : "l"(data + i + j * stride));
#pragma unroll
    for (int j = 0; j < 8; ++j)
      sum ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
  }
  if (sum == 0x9e3779b9u)
    *out = sum;
}
)cuda";

/// A product without the product: a block requests up to 48 KB, waits for its predecessor, reads what that
/// wrote, and writes.
const char *const readShare = R"cuda(
extern "C" __global__ void __launch_bounds__(512) read_share(const uint4 *data, unsigned perThread, const unsigned *input, unsigned *output) {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
  uint4 v[6] = {};
#pragma unroll
  for (int j = 0; j < 6; ++j)
    if (j < perThread)
      asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
                   : "=r"(v[j].x), "=r"(v[j].y), "=r"(v[j].z), "=r"(v[j].w)
                   : "l"(data + (size_t(blockIdx.x) * perThread + j) * 512 + threadIdx.x));
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
  unsigned sum = __ldcg(input + threadIdx.x);
#pragma unroll
  for (int j = 0; j < 6; ++j)
    sum ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
  if (threadIdx.x < 8)
    output[blockIdx.x * 8 + threadIdx.x] = sum;
}
)cuda";

} // namespace

const std::vector<PlainKernel> plainKernels = {{"read_memory", readMemory}, {"read_share", readShare}};

namespace {

using cuda::KernelRequest;

Case readCase() {
  return {"memory read", {}, [](Gpu &gpu) {
            const size_t bytes = size_t(4) << 30;
            Memory data = gpu.allocate(bytes), out = gpu.allocate(4);
            fillRandom(gpu, data);
            cuda::Function read = gpu.kernelFromSource("read_memory", readMemory);
            gpu.dependentLaunch = false;
            double best = 0;
            for (unsigned blocks : {2u, 4u}) {
              double ms = gpu.timeGraph(
                  "memory read",
                  [&] {
                    cuda::DevicePtr from = data.address, to = out.address;
                    unsigned long long count = bytes / 16;
                    void *parameters[] = {&from, &count, &to};
                    gpu.launchRaw(read, gpu.multiprocessors * blocks, 1, 512, parameters);
                  },
                  3);
              best = std::max(best, double(bytes) / ms * 1e3);
            }
            double copyMs = gpu.timeGraph(
                "memory copy", [&] { gpu.copyOnDevice(data.address, data.address + bytes / 2, bytes / 2); },
                3);
            gpu.dependentLaunch = true;
            measuredBandwidth = best;
            char text[96];
            std::snprintf(text, sizeof text, "read %.0f GB/s, copy %.0f GB/s (read + written)", best / 1e9,
                          double(bytes) / copyMs / 1e6);
            return Outcome{true, text};
          }};
}

/// Launches in a graph that reads its operands in turn, 2 GB or 500 launches in all: so many that the start
/// of a graph, which a whole decode step has once, does not count.
int launchesPerGraph(double bytes, int operands) {
  return operands * std::max(1, int(std::min(2e9 / bytes, 500.0) / operands));
}

/// The most that a launch of so many bytes can reach in a graph: it reads them, and waits for its
/// predecessor.
Case launchCase(double megabytes) {
  char name[48];
  std::snprintf(name, sizeof name, "launches that read %.1f MB", megabytes);
  return {name, {}, [megabytes, name = std::string(name)](Gpu &gpu) {
            constexpr size_t vectorBytes = 512 * 16;
            size_t blocks = 0, perThread = 7;
            while (perThread > 6) {
              blocks += gpu.multiprocessors;
              perThread = (size_t(megabytes * 1e6) / blocks + vectorBytes / 2) / vectorBytes;
            }
            const size_t bytes = blocks * perThread * vectorBytes;
            const int instances = int(size_t(1e9) / bytes);
            Memory weights = gpu.allocate(bytes * size_t(instances)), vectors = gpu.allocate(size_t(1) << 20);
            fillRandom(gpu, weights);
            fillRandom(gpu, vectors);
            cuda::Function read = gpu.kernelFromSource("read_share", readShare);
            const int launches = launchesPerGraph(double(bytes), instances);
            double ms = gpu.timeGraph(
                name,
                [&] {
                  for (int i = 0; i < launches; ++i) {
                    cuda::DevicePtr from = weights.address + bytes * size_t(i % instances),
                                    input = vectors.address + size_t(i % 2) * (vectors.bytes / 2),
                                    output = vectors.address + size_t((i + 1) % 2) * (vectors.bytes / 2);
                    unsigned count = unsigned(perThread);
                    void *parameters[] = {&from, &count, &input, &output};
                    gpu.launchRaw(read, unsigned(blocks), 1, 512, parameters);
                  }
                },
                4);
            char text[96];
            std::snprintf(text, sizeof text, "%6.2f us each for %.1f MB, %4.0f GB/s, %5.1f%% of bandwidth",
                          ms * 1e3 / launches, double(bytes) / 1e6, double(bytes) * launches / ms / 1e6,
                          100 * double(bytes) * launches / ms * 1e3 / measuredBandwidth);
            return Outcome{true, text};
          }};
}

/// All layers' instances of one product as one graph: weights rotate through more memory than the cache
/// holds.
Case productCase(const std::string &name, KernelRequest kernel, int instances) {
  return {name, {kernel}, [=](Gpu &gpu) {
            const cuda::Shape &s = kernel.shape;
            auto value = [&](const char *key) { return size_t(cuda::shapeInteger(s, key)); };
            auto divideUp = [](size_t a, size_t b) { return (a + b - 1) / b; };
            bool tiles = kernel.symbol == "linear_skinny";
            size_t outputs = value("stacked") || value("glu") ? 8 : 16;
            size_t in = value("in"),
                   parts[3] = {value(tiles ? "part0" : "out"), value("part1"), value("part2")};
            bool unpacked = tiles || kernel.symbol == "linear_stream";
            BlockSize block = blockSize(unpacked ? DType::BF16 : DType(value("weightType")));
            const size_t rowBytes = in / block.elements * block.bytes;
            size_t bytes = (parts[0] + parts[1] + parts[2]) * rowBytes;
            Memory weights = gpu.allocate(bytes * size_t(instances)),
                   vectors = gpu.allocate(size_t(16) << 20);
            fillRandom(gpu, weights);
            fillRandom(gpu, vectors);
            DeviceStep step = gpu.step({0}, {5}, {0}, 1);
            unsigned blocks = 0;
            const int launches = launchesPerGraph(bytes, instances);
            auto record = [&] {
              for (int launch = 0; launch < launches; ++launch) {
                const int i = launch % instances;
                std::vector<cuda::DevicePtr> args;
                cuda::DevicePtr weight = weights.address + bytes * size_t(i),
                                out = vectors.address + (size_t(8) << 20);
                for (size_t p = 0; p < 3 && parts[p]; ++p)
                  if (!(value("glu") && p)) {
                    args.push_back(out);
                    out += parts[p] * 4;
                  }
                args.push_back(vectors.address);
                for (size_t p = 0; p < 3 && parts[p]; weight += parts[p] * rowBytes, ++p)
                  args.push_back(weight);
                if (value("norm"))
                  args.push_back(vectors.address + (size_t(1) << 20));
                if (kernel.body == residualSum())
                  args.push_back(vectors.address + (size_t(2) << 20));
                gpu.launch(kernel, args, step.view, blocks);
              }
            };
            double overlapped = gpu.timeGraph(name, record, 4);
            blocks = unsigned(divideUp(parts[0], outputs) +
                              (value("glu") ? 0 : divideUp(parts[1], outputs) + divideUp(parts[2], outputs)));
            double perTile = tiles ? gpu.timeGraph(name, record, 4) : 0;
            blocks = 0;
            gpu.dependentLaunch = false;
            double plain = gpu.timeGraph(name, record, 4);
            gpu.dependentLaunch = true;
            double total = double(bytes) * launches;
            char text[200], tileText[48] = "";
            if (tiles)
              std::snprintf(tileText, sizeof tileText, " a tile a block %6.2f us;", perTile * 1e3 / launches);
            std::snprintf(
                text, sizeof text,
                "%6.2f us each, %4.0f GB/s, %5.1f%% of bandwidth;%s launched one after the other %6.2f us, "
                "%5.1f%%",
                overlapped * 1e3 / launches, total / overlapped / 1e6,
                100 * total / overlapped * 1e3 / measuredBandwidth, tileText, plain * 1e3 / launches,
                100 * total / plain * 1e3 / measuredBandwidth);
            return Outcome{true, text};
          }};
}

/// Attention of `batch` tokens at a context, over `pools` caches in turn, by the kernel a step of so many
/// keys takes.
Case attentionCase(const ModelShape &model, int batch, int context, int pools) {
  KernelRequest kernel = decodeAttention(model, batch * context);
  std::string name =
      std::string(model.name) + " attention, " + std::to_string(batch) + " x " + std::to_string(context);
  return {name, {kernel}, [=](Gpu &gpu) {
            int pages = (context + 63) / 64;
            size_t poolBytes = size_t(batch) * pages * 64 * 2 * model.kvHeads * model.headDim * 2;
            Memory kv = gpu.allocate(poolBytes * size_t(pools)), q = gpu.allocate(size_t(1) << 20),
                   out = gpu.allocate(size_t(1) << 20);
            fillRandom(gpu, kv);
            fillRandom(gpu, q);
            std::vector<int> tokens, positions, sequences;
            for (int b = 0; b < batch; ++b)
              tokens.push_back(0), positions.push_back(context - 1), sequences.push_back(b);
            DeviceStep step = gpu.step(tokens, positions, sequences, pages);
            double bytes = double(batch) * context * 2 * model.kvHeads * model.headDim * 2;
            const int launches = launchesPerGraph(bytes, pools);
            double ms = gpu.timeGraph(
                name,
                [&] {
                  for (int i = 0; i < launches; ++i)
                    gpu.launch(kernel, {out.address, q.address, kv.address + poolBytes * size_t(i % pools)},
                               step.view);
                },
                4);
            char text[128];
            std::snprintf(text, sizeof text, "%7.2f us each, %.0f MB, %4.0f GB/s, %5.1f%% of bandwidth",
                          ms * 1e3 / launches, bytes / 1e6, bytes * launches / ms / 1e6,
                          100 * bytes * launches / ms * 1e3 / measuredBandwidth);
            return Outcome{true, text};
          }};
}

} // namespace

void addBandwidthCases(std::vector<Case> &cases, unsigned multiprocessors) {
  cases.push_back(readCase());
  for (double megabytes : {4.3, 6.5, 8.7, 13.0, 23.8})
    cases.push_back(launchCase(megabytes));
  for (const ModelShape &model : modelShapes) {
    std::string name = model.name;
    cases.push_back(productCase(name + " q k v", queryKeyValue(model, 1, multiprocessors), model.layers));
    cases.push_back(productCase(name + " o", attentionOutput(model, 1, multiprocessors), model.layers));
    cases.push_back(productCase(name + " gate up", gateUp(model, 1, multiprocessors), model.layers));
    cases.push_back(productCase(name + " down", down(model, 1, multiprocessors), model.layers));
    cases.push_back(productCase(name + " logits", logits(model, 1), 2));
    cases.push_back(productCase(name + " logits, 16 rows", logits(model, 16), 2));
  }
  // Layers whose products take long each: gate and up by themselves, rows of down that no registers hold.
  constexpr ModelShape large = {"Llama-3.1-8B", 4, 4096, 32, 8, 128, 14336, 128256, false, false};
  cases.push_back(productCase("Llama-3.1-8B q k v", queryKeyValue(large, 1, multiprocessors), large.layers));
  cases.push_back(productCase("Llama-3.1-8B o", attentionOutput(large, 1, multiprocessors), large.layers));
  cases.push_back(productCase("Llama-3.1-8B gate",
                              oneRowProduct(large.hidden, large.intermediate, roundedSum()), large.layers));
  cases.push_back(productCase("Llama-3.1-8B down",
                              oneRowProduct(large.intermediate, large.hidden, residualSum()), large.layers));
  cases.push_back(productCase("Qwen3-4B down", oneRowProduct(9728, 2560, residualSum()), 8));
  for (auto [type, typeName] : {std::pair(DType::Q8_0, "Q8_0"), std::pair(DType::Q4_1, "Q4_1")})
    for (auto [in, out, layers] :
         {std::tuple(1024, 151936, 2), std::tuple(2048, 5632, 44), std::tuple(5632, 2048, 44)}) {
      std::string name =
          std::string(typeName) + " product " + std::to_string(in) + " to " + std::to_string(out);
      cuda::Shape shape = {{"in", in}, {"out", out}, {"weightType", double(type)}, {"inType", 3}};
      cases.push_back(productCase(name, streamed(shape, 1), layers));
      shape["rowTile"] = 1, shape["warpOutputs"] = 2;
      cases.push_back(productCase(name + ", plain kernel", {"linear_any", shape, roundedSum()}, layers));
    }
  struct Attended {
    int model, batch, context, pools;
  };
  constexpr Attended attended[] = {{0, 16, 4096, 2}, {0, 16, 16384, 1}, {0, 16, 1024, 8},  {0, 1, 4096, 28},
                                   {0, 1, 32768, 3}, {0, 1, 128, 28},   {1, 16, 16384, 2}, {1, 16, 65536, 1},
                                   {1, 1, 2048, 22}, {2, 16, 16384, 2}, {2, 16, 65536, 1}, {2, 1, 4096, 18}};
  for (auto [model, batch, context, pools] : attended)
    cases.push_back(attentionCase(modelShapes[model], batch, context, pools));
}

} // namespace fusebox::gputest
