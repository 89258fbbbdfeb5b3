// Bits that must not change: whatever runs beside a token, however its prompt was cut, run for run.
#include "test/device/models/Models.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace fusebox::gpumodels {

namespace {

class Independence {
public:
  Independence(Session &session, const std::string &name) : session(session), name(name) {}

  int run() {
    for (uint32_t slot = 0; slot < 16; ++slot)
      step(session, slot, random(20 + 17 * slot), 1);
    for (uint32_t slot = 0; slot < 16; ++slot)
      lengths.push_back(session.length(slot));
    next = random(16);
    return checkBatches() + checkRanked() + checkChunks();
  }

private:
  Session &session;
  const std::string &name;
  std::mt19937 engine{5};
  std::vector<int32_t> next;
  std::vector<uint32_t> lengths;

  std::vector<int32_t> random(size_t count) {
    std::vector<int32_t> tokens(count);
    for (int32_t &token : tokens)
      token = int32_t(engine() % session.model().vocabulary);
    return tokens;
  }

  /// Runs one token of each of `count` sequences from `first` on, then forgets them.
  template <class Step> auto decode(uint32_t first, uint32_t count, Step step) {
    std::vector<int32_t> starts, slots, rows;
    for (uint32_t i = 0; i <= count; ++i)
      starts.push_back(int32_t(i));
    for (uint32_t i = 0; i < count; ++i)
      slots.push_back(int32_t(first + i)), rows.push_back(int32_t(i));
    auto answer = step(Batch{std::span(next).subspan(first, count), starts, slots, rows});
    for (uint32_t i = 0; i < count; ++i)
      expect(session.truncate(first + i, lengths[first + i]));
    return answer;
  }

  std::vector<float> logits(const Batch &batch) {
    Logits logits = expect(session.step(batch));
    return {logits.values, logits.values + size_t(logits.rows) * logits.vocabulary};
  }

  int checkBatches() {
    auto run = [&](const Batch &batch) { return logits(batch); };
    std::vector<float> together = decode(0, 16, run);
    bool same = true;
    for (uint32_t count : {1u, 2u, 3u, 4u, 8u}) {
      std::vector<float> parts;
      for (uint32_t first = 0; first < 16; first += count) {
        std::vector<float> some = decode(first, std::min(count, 16 - first), run);
        parts.insert(parts.end(), some.begin(), some.end());
      }
      same = same && parts == together;
    }
    return report(name + " decode, batch 1 to 16", same,
                  same ? "same bits in every batch" : "BITS DEPEND ON THE BATCH");
  }

  /// The largest logits that the device finds are those that sorting all logits finds.
  int checkRanked() {
    std::string fault;
    for (uint32_t count : {1u, 40u, 256u}) {
      count = std::min(count, session.model().vocabulary);
      decode(0, 16, [&](const Batch &batch) {
        RankedLogits ranked = expect(session.stepRanked(batch, count));
        Logits all = expect(session.lastLogits());
        for (uint32_t row = 0; row < all.rows; ++row)
          if (std::string found = compare(ranked, all, row, count); !found.empty())
            fault = "the " + std::to_string(count) + " largest of row " + std::to_string(row) + ": " + found;
        return 0;
      });
    }
    return report(name + " largest logits", fault.empty(), fault.empty() ? "as sorted on the host" : fault);
  }

  static std::string compare(const RankedLogits &ranked, const Logits &all, uint32_t row, uint32_t count) {
    std::vector<plan::SelectedValue> want;
    for (uint32_t id = 0; id < all.vocabulary; ++id)
      want.push_back({all.row(row)[id], id});
    std::partial_sort(want.begin(), want.begin() + count, want.end(), [](const auto &a, const auto &b) {
      return a.value != b.value ? a.value > b.value : a.index < b.index;
    });
    auto got = ranked.row(row);
    for (uint32_t i = 0; i < count; ++i)
      if (i >= got.size() || got[i].index != want[i].index || got[i].value != want[i].value)
        return "place " + std::to_string(i) + " is wrong";
    double sum = 0;
    for (float value : all.row(row))
      sum += std::exp(double(value) - double(want[0].value));
    return std::abs(ranked.weightSum(row) - sum) <= 1e-5 * sum ? "" : "the sum of weights is off";
  }

  int checkChunks() {
    std::vector<int32_t> prompt = random(500);
    auto prefill = [&](size_t chunk) {
      expect(session.truncate(0, 0));
      std::vector<float> last;
      for (size_t first = 0; first < prompt.size(); first += chunk)
        last = step(session, 0, std::span(prompt).subspan(first, std::min(chunk, prompt.size() - first)), 1);
      return last;
    };
    std::vector<float> whole = prefill(512);
    bool chunks = whole == prefill(128) && whole == prefill(256) && whole == prefill(384),
         runs = whole == prefill(512);
    return report(name + " prefill of 500", chunks && runs,
                  std::string(chunks ? "same bits in chunks of 128, 256, 384" : "CHUNKS DIFFER") +
                      (runs ? ", and again" : "; RUNS DIFFER"));
  }
};

} // namespace

int checkIndependence(const plan::PlanReader &plan, const std::string &name, const std::string &weights) {
  SessionOptions settings;
  settings.slots = 16;
  settings.maxStepTokens = 512;
  settings.contextTokens = 512;
  auto session = openPlan(plan, weights, settings);
  return Independence(*session, name).run();
}

} // namespace fusebox::gpumodels
