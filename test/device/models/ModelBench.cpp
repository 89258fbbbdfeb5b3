// Full-size models on the GPU: load, prefill and decode, each beside its floor.
#include "runtime/device/Device.h"
#include "test/device/models/Models.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>

namespace fusebox::gpumodels {

namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::vector<int32_t> randomTokens(const Session &session, size_t count) {
  std::mt19937 engine(3);
  std::vector<int32_t> tokens(count);
  for (int32_t &token : tokens)
    token = int32_t(engine() % session.model().vocabulary);
  return tokens;
}

/// Bytes of the weights that a decode step reads, and of the products' matrices in the layers.
struct WeightBytes {
  double read = 0, layers = 0;
};
WeightBytes weightBytes(const plan::Program &program) {
  WeightBytes bytes;
  for (const plan::Weight &weight : program.weights) {
    double each = double(weight.bytes) * double(weight.instances.size());
    if (weight.perLayer)
      bytes.read += each, bytes.layers += each;
  }
  // The head: the largest weight outside layers; an embedding table of its own is read by the row.
  double head = 0;
  for (const plan::Weight &weight : program.weights)
    if (!weight.perLayer)
      head = std::max(head, double(weight.bytes));
  bytes.read += head;
  return bytes;
}

double kvBytesPerToken(const plan::Program &program) {
  double bytes = 0;
  for (const plan::KvCache &cache : program.kvCaches)
    bytes += double(cache.layers) * double(cache.pageBytes) / cache.pageTokens;
  return bytes;
}

/// Milliseconds of a greedy decode step around a context, each token chosen on the device and fed to the next
/// step: the median of 64.
double decodeTime(Session &session, std::span<const int32_t> prompt) {
  expect(session.truncate(0, 0));
  uint32_t most = session.options().maxStepTokens;
  prompt = prompt.first(prompt.size() - 40);
  for (size_t first = 0; first < prompt.size(); first += most)
    step(session, 0, prompt.subspan(first, std::min<size_t>(most, prompt.size() - first)), 1);
  int32_t token = 11, starts[] = {0, 1}, slots[] = {0}, rows[] = {0};
  std::vector<double> times;
  for (int i = 0; i < 72; ++i) {
    double begin = seconds();
    RankedLogits ranked = expect(session.stepRanked({{&token, 1}, starts, slots, rows}, 1));
    token = int32_t(ranked.row(0)[0].index);
    if (i >= 8)
      times.push_back((seconds() - begin) * 1e3);
  }
  return median(times);
}

void print(const char *pattern, auto... values) {
  std::printf(pattern, values...);
  std::fflush(stdout);
}

} // namespace

int benchModel(const Options &options, const std::string &folder) {
  std::string name = folder.substr(folder.rfind('/') + 1);
  double begin = seconds();
  CompileOptions compile;
  compile.targets = {options.target};
  CompiledPlan plan = expect(compileModel(folder, compile));
  double compiled = seconds() - begin;
  std::string path = "/tmp/" + name + ".plan";
  expect(plan.writer.write(path));

  Device device = expect(openDevice({plan::TargetKind::Cuda}));
  double freeBefore = double(availableMemory(device));
  SessionOptions settings;
  settings.maxStepTokens = 2048;
  settings.contextTokens = 4096 + 128;
  settings.contextTokens = name.rfind("tinyllama", 0) == 0 ? 2048 : settings.contextTokens;
  begin = seconds();
  auto session = expect(Session::open(path, settings));
  double opened = seconds() - begin;
  std::vector<int32_t> tokens = randomTokens(*session, 4096);
  step(*session, 0, std::span(tokens).first(8), 1);
  double firstToken = seconds() - begin;
  const MemoryNeed &need = session->memory();
  double beyond = freeBefore - double(availableMemory(device)) - double(need.total());
  print("%-18s compile %.2f s, open %.3f s, plan to first token %.3f s; memory beyond the estimate %.0f MB\n",
        name.c_str(), compiled, opened, firstToken, beyond / 1e6);

  WeightBytes bytes = weightBytes(session->program());
  double perToken = kvBytesPerToken(session->program());
  for (size_t context : {size_t(128), std::min<size_t>(4096, settings.contextTokens) - 64}) {
    double ms = decodeTime(*session, std::span(tokens).first(context));
    double floor =
        options.bandwidth > 0 ? (bytes.read + perToken * double(context)) / options.bandwidth * 1e3 : 0;
    print("%-18s decode at %zu tokens: %.3f ms a token, %.2f x floor (%.3f ms)\n", name.c_str(), context, ms,
          floor > 0 ? ms / floor : 0, floor);
  }
  std::vector<double> times;
  for (int i = 0; i < 6; ++i) {
    expect(session->truncate(0, 0));
    begin = seconds();
    step(*session, 0, std::span(tokens).first(2000), 1);
    times.push_back(seconds() - begin);
  }
  times.erase(times.begin());
  double operations = bytes.layers / 2 * 2 * 2000;
  double rate = operations / median(times);
  print("%-18s prefill of 2000 tokens: %.2f ms, %.0f TFLOP/s in products%s\n", name.c_str(),
        median(times) * 1e3, rate / 1e12,
        options.peak > 0 ? (", " + std::to_string(int(100 * rate / options.peak)) + " % of peak").c_str()
                         : "");
  return 0;
}

} // namespace fusebox::gpumodels
