// The largest logits of each row: exactly those that sorting finds, whatever the logits are; and their cost a
// token.
#include "runtime/plan/Program.h"
#include "test/device/ModelShapes.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>

namespace fusebox::gputest {

namespace {

using plan::SelectedRow, plan::SelectedValue;

/// Logits that are hard in some way.
std::vector<float> makeLogits(const std::string &kind, size_t vocabulary, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(vocabulary);
  for (float &value : logits)
    value = normal(engine);
  if (kind == "equal")
    std::fill(logits.begin(), logits.end(), -1.5f);
  if (kind == "ascending")
    for (size_t i = 0; i < vocabulary; ++i)
      logits[i] = float(i) * 1e-3f - 20;
  if (kind == "coarse") // many ties, both zeros among them
    for (float &value : logits)
      value = std::round(value) * 0.5f;
  if (kind == "special")
    for (size_t i = 0; i < vocabulary; ++i)
      if (unsigned r = engine() % 8; r < 6)
        logits[i] = r < 4 ? NAN : -INFINITY;
  if (kind == "few")
    for (size_t i = 0; i < vocabulary; ++i)
      if (i % 1000 != 7)
        logits[i] = NAN;
  if (kind == "crowded") // the largest side by side, in groups that no other sees
    for (size_t i = 0; i < 600 && i < vocabulary; ++i)
      logits[vocabulary - 1 - i] = 30 + float(engine() % 50);
  return logits;
}

std::vector<SelectedValue> sorted(std::span<const float> logits, size_t count) {
  std::vector<SelectedValue> values;
  for (size_t i = 0; i < logits.size(); ++i)
    if (!std::isnan(logits[i]))
      values.push_back({logits[i], uint32_t(i)});
  std::sort(values.begin(), values.end(), [](const SelectedValue &a, const SelectedValue &b) {
    return a.value != b.value ? a.value > b.value : a.index < b.index;
  });
  values.resize(std::min(values.size(), count));
  return values;
}

/// What is wrong with a row's result; empty if nothing is.
std::string faultOf(const std::byte *row, std::span<const float> logits, size_t count) {
  SelectedRow header;
  std::memcpy(&header, row, sizeof header);
  std::vector<SelectedValue> want = sorted(logits, count), got(want.size());
  if (header.listed != want.size())
    return std::to_string(header.listed) + " listed, not " + std::to_string(want.size());
  std::memcpy(got.data(), row + sizeof header, got.size() * sizeof got[0]);
  for (size_t i = 0; i < want.size(); ++i)
    if (got[i].value != want[i].value || got[i].index != want[i].index)
      return "place " + std::to_string(i) + " has id " + std::to_string(got[i].index) + ", not " +
             std::to_string(want[i].index);
  double sum = 0;
  for (float value : logits)
    if (!want.empty() && value > -INFINITY)
      sum += std::exp(double(value) - double(want[0].value));
  return std::abs(header.weightSum - sum) <= 1e-5 * sum ? "" : "the sum of weights is off";
}

size_t resultBytes(int count) { return size_t(2 + 2 * count + 15) / 16 * 64; }
size_t groupBytes(size_t vocabulary) { return (vocabulary + 4095) / 4096 * 129 * 8 / 64 * 64 + 64; }

Case selectionCase(size_t vocabulary, int count) {
  ModelShape shape = {};
  shape.vocabulary = int(vocabulary);
  return {"largest " + std::to_string(count) + " of " + std::to_string(vocabulary),
          {largestGroups(shape), largest(shape, count)},
          [=](Gpu &gpu) {
            const char *kinds[] = {"normal", "equal", "ascending", "coarse", "special", "few", "crowded"};
            std::vector<float> logits;
            for (unsigned row = 0; row < std::size(kinds); ++row)
              for (float value : makeLogits(kinds[row], vocabulary, row))
                logits.push_back(value);
            size_t rows = std::size(kinds);
            Memory in = gpu.upload(logits), groups = gpu.allocate(rows * groupBytes(vocabulary)),
                   out = gpu.allocate(rows * resultBytes(count));
            gpu.fill(groups, 0xff);
            gpu.fill(out, 0xff);
            std::vector<int> zeros(rows, 0);
            DeviceStep step = gpu.step(zeros, zeros, zeros, 1);
            gpu.launch(largestGroups(shape), {groups.address, in.address}, step.view);
            gpu.launch(largest(shape, count), {out.address, groups.address, in.address}, step.view);
            gpu.synchronise("largest");
            std::vector<std::byte> got = gpu.download<std::byte>(out, out.bytes);
            std::string faults;
            for (size_t row = 0; row < rows; ++row)
              if (std::string fault =
                      faultOf(got.data() + row * resultBytes(count),
                              std::span(logits).subspan(row * vocabulary, vocabulary), size_t(count));
                  !fault.empty())
                faults += std::string(faults.empty() ? "" : "; ") + kinds[row] + ": " + fault;
            return Outcome{faults.empty(), faults.empty() ? "as sorted, 7 kinds of rows" : faults};
          }};
}

Case speedCase(const ModelShape &m) {
  return {
      std::string(m.name) + " largest logits",
      {largestGroups(m), largest(m, 1), largest(m, 256)},
      [&m](Gpu &gpu) {
        std::vector<float> logits = makeLogits("normal", size_t(m.vocabulary), 1);
        Memory in = gpu.upload(logits), groups = gpu.allocate(groupBytes(size_t(m.vocabulary))),
               out = gpu.allocate(resultBytes(256));
        DeviceStep step = gpu.step({0}, {0}, {0}, 1);
        auto time = [&](int count) {
          return 1e3 / 10 *
                 gpu.timeGraph(
                     "largest",
                     [&] {
                       for (int i = 0; i < 10; ++i) {
                         gpu.launch(largestGroups(m), {groups.address, in.address}, step.view);
                         gpu.launch(largest(m, count), {out.address, groups.address, in.address}, step.view);
                       }
                     },
                     20);
        };
        char text[96];
        std::snprintf(text, sizeof text, "the largest %.1f us, the largest 256 %.1f us", time(1), time(256));
        return Outcome{true, text};
      }};
}

} // namespace

void addSelectionCases(std::vector<Case> &cases) {
  for (size_t vocabulary :
       {size_t(40), size_t(300), size_t(8191), size_t(32000), size_t(151936), size_t(262144)})
    for (int count : {1, 7, 256})
      cases.push_back(selectionCase(vocabulary, count));
}

void addSelectionSpeedCases(std::vector<Case> &cases) {
  for (const ModelShape &model : modelShapes)
    cases.push_back(speedCase(model));
}

} // namespace fusebox::gputest
