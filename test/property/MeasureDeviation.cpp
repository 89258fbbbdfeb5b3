// How far a model's attention scores deviate on its own hidden vectors, beside what the certificates expect.
//   measure-deviation MODEL GOLDEN TENSOR    # e.g. smollm2-bf16 test/data/golden/smollm2-135m-instruct
//   prompt_0_ids
#include "passes/analysis/Metric.h"
#include "test/property/Region.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

using namespace fusebox;
using namespace fusebox::test;

namespace {

struct Ratios {
  double layer;       ///< measured over expected, both as root mean squares over heads
  double largestHead; ///< the head with the largest quotient
};

Ratios compare(const Region &region, const LayerMeasures &measures, Contract contract,
               const Region::Scores &exact, const Region::Scores &rounded) {
  double measuredSum = 0, expectedSum = 0, largest = 0;
  for (int64_t h = 0; h < exact.heads; ++h) {
    double sum = 0;
    for (int64_t i = 0; i < exact.rows; ++i)
      for (int64_t j = 0; j <= i; ++j)
        sum += std::pow(rounded.at(h, i, j) - exact.at(h, i, j), 2);
    double measured = sum / (double(exact.rows) * double(exact.rows + 1) / 2);
    double expected = std::pow(scoreDeviation(region.facts, measures.heads[size_t(h)], contract).expected, 2);
    measuredSum += measured;
    expectedSum += expected;
    largest = std::max(largest, std::sqrt(measured / expected));
  }
  return {std::sqrt(measuredSum / expectedSum), largest};
}

} // namespace

int main(int argc, char **argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: measure-deviation MODEL GOLDEN TENSOR\n");
    return 10;
  }
  Region region(argv[1]);
  std::vector<int32_t> ids = Expected(argv[2]).ids(argv[3]);
  std::vector<double> positions = consecutive(int64_t(ids.size()));
  ModelMeasures measures = measureWeights(region.facts, 2);
  std::vector<oracle::Tensor> states = region.hiddenStates(ids);
  std::vector<double> all;
  std::printf("%5s %12s %12s %12s %14s\n", "layer", "reference", "worst head", "wide", "wide/reference");
  for (size_t l = 0; l < states.size(); ++l) {
    auto exact = region.scores(int64_t(l), states[l], positions, How::Real);
    auto own = region.scores(int64_t(l), states[l], positions, How::Reference);
    auto fused = region.scores(int64_t(l), states[l], positions, How::Wide);
    Ratios reference = compare(region, measures.layers[l], Contract::Reference, exact, own);
    Ratios wide = compare(region, measures.layers[l], Contract::Wide, exact, fused);
    // Both against the same expectation: how much nearer the fused region is.
    Ratios apart = compare(region, measures.layers[l], Contract::Reference, exact, fused);
    std::printf("%5zu %12.2f %12.2f %12.2f %14.2f\n", l, reference.layer, reference.largestHead, wide.layer,
                apart.layer / reference.layer);
    all.push_back(reference.layer);
  }
  std::sort(all.begin(), all.end());
  std::printf("reference over expected, by layer: least %.2f, median %.2f, largest %.2f\n", all.front(),
              all[all.size() / 2], all.back());
}
