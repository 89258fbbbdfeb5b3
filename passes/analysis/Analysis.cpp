#include "passes/analysis/Analysis.h"

#include "passes/analysis/Metric.h"

#include <algorithm>
#include <thread>

using namespace fusebox;

const Verdict *Analysis::find(int64_t layer, std::string_view node, Contract contract) const {
  auto found = std::find_if(verdicts.begin(), verdicts.end(), [&](const Verdict &verdict) {
    return verdict.layer == layer && verdict.node == node && verdict.contract == contract;
  });
  return found == verdicts.end() ? nullptr : &*found;
}

Status fusebox::certifiedStatus(const std::vector<Verdict> &verdicts) {
  Status status = Status::Compatible;
  for (const Verdict &verdict : verdicts) {
    if (verdict.contract != Contract::Wide || verdict.legal)
      continue;
    if (!verdict.semanticsProved || !verdict.rangeProved)
      return Status::Incompatible;
    status = Status::Warning;
  }
  return status;
}

Analysis fusebox::analyzeModel(const ModelFacts &facts, const AnalysisOptions &options) {
  constexpr unsigned mostThreads = 16;
  unsigned threads = options.threads;
  if (threads == 0)
    threads = std::clamp(std::thread::hardware_concurrency(), 1u, mostThreads);
  Analysis analysis;
  analysis.heuristic = scoreHeuristic(facts, options.limits);
  ModelMeasures measures = measureWeights(facts, threads);
  double layers = double(std::max<size_t>(facts.layers.size(), 1));
  MetricInput input = {facts, measures, options.kernels, options.klBudget / layers};
  for (const Metric &metric : metrics()) {
    std::vector<Verdict> verdicts = metric.judge(input);
    std::move(verdicts.begin(), verdicts.end(), std::back_inserter(analysis.verdicts));
  }
  analysis.certified = certifiedStatus(analysis.verdicts);
  return analysis;
}
