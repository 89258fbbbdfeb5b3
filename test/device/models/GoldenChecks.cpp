// The golden models on the GPU: logits against f64, greedy continuations, bits that must not change.
#include "test/device/models/Models.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>

namespace fusebox::gpumodels {

namespace {

constexpr const char *goldenNames[] = {"qwen3",      "qwen3-extreme-k", "llama",
                                       "llama-tied", "llama31-rope",    "ernie4_5"};

template <class Stored, class T> std::vector<T> widen(std::span<const std::byte> bytes) {
  std::vector<T> values(bytes.size() / sizeof(Stored));
  for (size_t i = 0; i < values.size(); ++i) {
    Stored value;
    std::memcpy(&value, bytes.data() + i * sizeof(Stored), sizeof(Stored));
    values[i] = T(value);
  }
  return values;
}

/// expected.safetensors of a golden.
struct Expected {
  Checkpoint file;
  std::vector<double> reals(const std::string &name) const {
    const StoredTensor *tensor = file.find(name);
    return tensor->dtype == DType::F64 ? widen<double, double>(file.data(*tensor))
                                       : widen<float, double>(file.data(*tensor));
  }
  std::vector<int32_t> ids(const std::string &name) const {
    return widen<int64_t, int32_t>(file.data(*file.find(name)));
  }
};

template <class T> double relativeError(const std::vector<T> &a, const std::vector<double> &b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return std::sqrt(difference / norm);
}

std::string format(const char *pattern, auto... values) {
  char text[240];
  std::snprintf(text, sizeof text, pattern, values...);
  return text;
}

/// All logits of a prompt, in one step or a token at a time; with `alone` every launch runs for itself.
std::vector<float> logitsOf(Session &session, std::span<const int32_t> ids, size_t chunk, bool alone) {
  expect(session.truncate(0, 0));
  if (alone)
    session.observe([](const NodeReport &) { return Result<void>(); });
  std::vector<float> all;
  for (size_t first = 0; first < ids.size(); first += chunk) {
    auto part = ids.subspan(first, std::min(chunk, ids.size() - first));
    std::vector<float> logits = step(session, 0, part, part.size());
    all.insert(all.end(), logits.begin(), logits.end());
  }
  session.observe({});
  return all;
}

int checkBf16(const Options &options, const std::string &name, const Expected &expected) {
  auto session = openModel(options, options.goldens + "/" + name, DType::BF16, {});
  std::vector<int32_t> ids = expected.ids("input_ids");
  std::vector<double> exact = expected.reals("logits_f64");
  double reference = relativeError(expected.reals("logits_bf16"), exact);
  std::vector<float> prefill = logitsOf(*session, ids, ids.size(), false),
                     decode = logitsOf(*session, ids, 1, false), separate = logitsOf(*session, ids, 1, true),
                     again = logitsOf(*session, ids, 1, false);
  double prefillError = relativeError(prefill, exact), decodeError = relativeError(decode, exact);
  std::vector<double> decoded(decode.begin(), decode.end());
  bool merged = decode == separate, stable = decode == again;
  bool passed = prefillError <= 1.2 * reference && decodeError <= 1.2 * reference && merged && stable;
  return report(name + " bf16", passed,
                format("error to f64: prefill %.4f, decode %.4f, reference bf16 %.4f; prefill against decode "
                       "%.4f; %s; %s",
                       prefillError, decodeError, reference, relativeError(prefill, decoded),
                       merged ? "merged = separate launches" : "MERGED DIFFERS",
                       stable ? "same bits again" : "RUNS DIFFER"));
}

int checkF32(const Options &options, const std::string &name, const Expected &expected) {
  auto session = openModel(options, options.goldens + "/" + name, DType::F32, {});
  std::vector<int32_t> ids = expected.ids("input_ids"), greedy = expected.ids("greedy_f32");
  std::vector<double> exact = expected.reals("logits_f64");
  double reference = relativeError(expected.reals("logits_f32"), exact);
  std::vector<float> logits = logitsOf(*session, ids, ids.size(), false);
  double error = relativeError(logits, exact);
  size_t vocabulary = session->model().vocabulary, right = 0;
  std::vector<float> last(logits.end() - ptrdiff_t(vocabulary), logits.end());
  for (int32_t want : greedy) {
    int32_t id = int32_t(std::max_element(last.begin(), last.end()) - last.begin());
    if (id != want)
      break;
    ++right;
    last = step(*session, 0, {&id, 1}, 1);
  }
  return report(name + " f32", error <= 4 * reference && right == greedy.size(),
                format("error to f64 %.2e, reference f32 %.2e; greedy %zu of %zu as in the reference", error,
                       reference, right, greedy.size()));
}

} // namespace

int checkGoldens(const Options &options) {
  int failures = 0;
  for (const char *name : goldenNames) {
    Expected expected{expect(Checkpoint::open(options.goldens + "/" + name + "/expected.safetensors"))};
    failures += checkBf16(options, name, expected);
    failures += checkF32(options, name, expected);
  }
  for (const char *name : {"qwen3", "llama-tied", "ernie4_5"})
    failures += checkIndependence(options, options.goldens + "/" + name, name);
  return failures;
}

int checkIndependence(const Options &options, const std::string &model, const std::string &name) {
  SessionOptions settings;
  settings.slots = 16;
  settings.maxStepTokens = 512;
  settings.contextTokens = 512;
  auto session = openModel(options, model, DType::BF16, settings);
  std::mt19937 engine(5);
  auto random = [&](size_t count) {
    std::vector<int32_t> tokens(count);
    for (int32_t &token : tokens)
      token = int32_t(engine() % session->model().vocabulary);
    return tokens;
  };
  // One token each on 16 different prompts: all at once, in parts, and alone.
  std::vector<int32_t> next = random(16), lengths;
  for (uint32_t slot = 0; slot < 16; ++slot)
    step(*session, slot, random(20 + 17 * slot), 1);
  for (uint32_t slot = 0; slot < 16; ++slot)
    lengths.push_back(int32_t(session->length(slot)));
  auto decode = [&](uint32_t first, uint32_t count) {
    std::vector<int32_t> starts, slots, rows;
    for (uint32_t i = 0; i <= count; ++i)
      starts.push_back(int32_t(i));
    for (uint32_t i = 0; i < count; ++i)
      slots.push_back(int32_t(first + i)), rows.push_back(int32_t(i));
    Logits logits = expect(session->step({std::span(next).subspan(first, count), starts, slots, rows}));
    std::vector<float> values(logits.values, logits.values + size_t(count) * logits.vocabulary);
    for (uint32_t i = 0; i < count; ++i)
      expect(session->truncate(first + i, uint32_t(lengths[first + i])));
    return values;
  };
  std::vector<float> together = decode(0, 16);
  bool batches = true;
  for (uint32_t count : {1u, 2u, 4u, 8u}) {
    std::vector<float> parts;
    for (uint32_t first = 0; first < 16; first += count) {
      std::vector<float> some = decode(first, count);
      parts.insert(parts.end(), some.begin(), some.end());
    }
    batches = batches && parts == together;
  }
  int failures = report(name + " decode, batch 1 to 16", batches,
                        batches ? "same bits in every batch" : "BITS DEPEND ON THE BATCH");
  // A prompt in chunks of 128, 256 and whole, and a second time.
  std::vector<int32_t> prompt = random(500);
  auto prefill = [&](size_t chunk) {
    expect(session->truncate(0, 0));
    std::vector<float> last;
    for (size_t first = 0; first < prompt.size(); first += chunk)
      last = step(*session, 0, std::span(prompt).subspan(first, std::min(chunk, prompt.size() - first)), 1);
    return last;
  };
  std::vector<float> whole = prefill(512);
  bool chunks = whole == prefill(128) && whole == prefill(256) && whole == prefill(384),
       runs = whole == prefill(512);
  return failures + report(name + " prefill of 500", chunks && runs,
                           std::string(chunks ? "same bits in chunks of 128, 256, 384" : "CHUNKS DIFFER") +
                               (runs ? ", and again" : "; RUNS DIFFER"));
}

} // namespace fusebox::gpumodels
