// Full-size models on the GPU: load, prefill and decode, each beside its floor.
#include "runtime/device/Device.h"
#include "test/device/models/Models.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
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

/// Elements of the matrices in the layers, which all rows of a step are multiplied with.
double layerElements(const plan::Program &program) {
  double elements = 0;
  for (const plan::Weight &weight : program.weights)
    if (weight.perLayer && weight.shape.size() == 2)
      elements += double(weight.shape[0]) * double(weight.shape[1]) * double(weight.instances.size());
  return elements;
}

double kvBytesPerToken(const plan::Program &program) {
  double bytes = 0;
  for (const plan::KvCache &cache : program.kvCaches)
    bytes += double(cache.layers) * double(cache.pageBytes) / cache.pageTokens;
  return bytes;
}

/// Milliseconds of a decode step around a context, of which the device finds the `count` largest logits and
/// the best one is fed to the next step: the median of 64.
double decodeTime(Session &session, std::span<const int32_t> prompt, uint32_t count) {
  expect(session.truncate(0, 0));
  uint32_t most = session.options().maxStepTokens;
  prompt = prompt.first(prompt.size() - 40);
  for (size_t first = 0; first < prompt.size(); first += most)
    step(session, 0, prompt.subspan(first, std::min<size_t>(most, prompt.size() - first)), 1);
  int32_t token = 11, starts[] = {0, 1}, slots[] = {0}, rows[] = {0};
  std::vector<double> times;
  for (int i = 0; i < 72; ++i) {
    double begin = seconds();
    RankedLogits ranked = expect(session.stepRanked({{&token, 1}, starts, slots, rows}, count));
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

/// Opens the plan without its cubins and with an empty cache: NVRTC compiles every kernel.
void benchCompile(const plan::PlanReader &reader, const std::string &name, const std::string &weights) {
  plan::Program program = expect(reader.readProgram(*reader.find(plan::SectionKind::Program)));
  for (plan::Module &module : program.modules)
    module.cubins.clear();
  plan::PlanWriter writer;
  writer.addProgram("cuda", program);
  plan::PlanReader sources = expect(plan::PlanReader::fromBytes(writer.encode(), name));
  const char *cache = std::getenv("XDG_CACHE_HOME");
  std::string kept = cache ? cache : "";
  char folder[] = "/tmp/fusebox-cold-XXXXXX";
  setenv("XDG_CACHE_HOME", mkdtemp(folder), 1);
  SessionOptions settings;
  settings.contextTokens = 512;
  double begin = seconds();
  openPlan(sources, weights, settings);
  print("%-18s opened with all %zu kernels compiled by NVRTC: %.2f s\n", name.c_str(), program.modules.size(),
        seconds() - begin);
  cache ? setenv("XDG_CACHE_HOME", kept.c_str(), 1) : unsetenv("XDG_CACHE_HOME");
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
}

uint32_t longestContext(const plan::PlanReader &reader) {
  return expect(reader.readProgram(*reader.find(plan::SectionKind::Program))).model.maxPosition;
}

void benchOpen(const plan::PlanReader &reader, const std::string &name, const std::string &weights,
               std::unique_ptr<Session> &session) {
  Device device = expect(openDevice({plan::TargetKind::Cuda}));
  double freeBefore = double(availableMemory(device));
  SessionOptions settings;
  settings.maxStepTokens = 2048;
  settings.contextTokens = std::min(4096u + 128, longestContext(reader));
  double begin = seconds();
  session = openPlan(reader, weights, settings);
  double opened = seconds() - begin;
  std::vector<int32_t> tokens = randomTokens(*session, 8);
  greedyStep(*session, tokens);
  double firstToken = seconds() - begin;
  const MemoryNeed &need = session->memory();
  double beyond = freeBefore - double(availableMemory(device)) - double(need.total());
  print("%-18s opened in %.3f s, plan to first token %.3f s beyond the context; memory beyond the estimate "
        "%.0f MB\n",
        name.c_str(), opened, firstToken, beyond / 1e6);
}

/// Logits of three decode steps behind a prompt; with `alone` every launch runs for itself.
std::vector<float> decodedLogits(Session &session, std::span<const int32_t> prompt, bool alone) {
  expect(session.truncate(0, 0));
  uint32_t most = session.options().maxStepTokens;
  for (size_t first = 0; first < prompt.size(); first += most)
    step(session, 0, prompt.subspan(first, std::min<size_t>(most, prompt.size() - first)), 1);
  if (alone)
    session.observe([](const NodeReport &) { return Result<void>(); });
  std::vector<float> all;
  for (int32_t token : {11, 5, 7}) {
    std::vector<float> logits = step(session, 0, {&token, 1}, 1);
    all.insert(all.end(), logits.begin(), logits.end());
  }
  session.observe({});
  return all;
}

/// All layers in one launch, or some operations in one, give the bits of separate launches. The longest
/// prompt is where few keys and values a token still let all layers run as one.
int checkMerged(const plan::PlanReader &reader, const std::string &name, const std::string &weights) {
  SessionOptions settings;
  settings.maxStepTokens = 2048;
  settings.contextTokens = std::min(30000u + 64, longestContext(reader));
  std::unique_ptr<Session> session = openPlan(reader, weights, settings);
  const size_t longest = session->contextTokens() - 64;
  std::vector<int32_t> tokens = randomTokens(*session, longest);
  std::string differ;
  for (size_t context :
       {size_t(1), size_t(100), size_t(127), size_t(700), std::min(size_t(4032), longest), longest}) {
    std::span<const int32_t> prompt = std::span(tokens).first(context);
    std::vector<float> merged = decodedLogits(*session, prompt, false);
    if (merged != decodedLogits(*session, prompt, true))
      differ += " " + std::to_string(context);
  }
  return report(name + " decode", differ.empty(),
                differ.empty()
                    ? "merged = separate launches, behind up to " + std::to_string(longest) + " tokens"
                    : "MERGED DIFFERS behind prompts of" + differ);
}

} // namespace

int benchModel(const Options &options, const plan::PlanReader &reader, const std::string &weights) {
  std::string name = lastPart(weights);
  std::unique_ptr<Session> session;
  benchOpen(reader, name, weights, session);
  std::vector<int32_t> tokens = randomTokens(*session, 4096);

  double read = double(plan::bytesReadPerToken(session->program()));
  double perToken = kvBytesPerToken(session->program());
  for (size_t context : {size_t(128), std::min<size_t>(4096, session->contextTokens()) - 64}) {
    std::span<const int32_t> prompt = std::span(tokens).first(context);
    double ms = decodeTime(*session, prompt, 1), listed = decodeTime(*session, prompt, 256);
    double floor = options.bandwidth > 0 ? (read + perToken * double(context)) / options.bandwidth * 1e3 : 0;
    print("%-18s decode at %zu tokens: %.3f ms a token, %.2f x floor (%.3f ms); %.3f ms with the largest 256 "
          "listed\n",
          name.c_str(), context, ms, floor > 0 ? ms / floor : 0, floor, listed);
  }
  std::vector<double> times;
  for (int i = 0; i < 6; ++i) {
    expect(session->truncate(0, 0));
    double begin = seconds();
    greedyStep(*session, std::span(tokens).first(std::min<size_t>(2000, session->contextTokens())));
    times.push_back(seconds() - begin);
  }
  times.erase(times.begin());
  double rate = 2 * layerElements(session->program()) * 2000 / median(times);
  print("%-18s prefill of 2000 tokens: %.2f ms, %.0f TFLOP/s in products%s\n", name.c_str(),
        median(times) * 1e3, rate / 1e12,
        options.peak > 0 ? (", " + std::to_string(int(100 * rate / options.peak)) + " % of peak").c_str()
                         : "");
  session.reset();
  int failures = checkMerged(reader, name, weights);
  benchCompile(reader, name, weights);
  return failures;
}

} // namespace fusebox::gpumodels
