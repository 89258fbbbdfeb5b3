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

unsigned fusebox::analysisThreads(unsigned wanted) {
  constexpr unsigned mostThreads = 16;
  return wanted != 0 ? wanted : std::clamp(std::thread::hardware_concurrency(), 1u, mostThreads);
}

Analysis fusebox::judgeModel(const ModelFacts &facts, const ModelMeasures &measures,
                             const AnalysisOptions &options) {
  Analysis analysis;
  analysis.heuristic = scoreHeuristic(facts, options.limits);
  double layers = double(std::max<size_t>(facts.layers.size(), 1));
  MetricInput input = {facts, measures, options.kernels, options.klBudget / layers};
  for (const Metric &metric : metrics()) {
    std::vector<Verdict> verdicts = metric.judge(input);
    std::move(verdicts.begin(), verdicts.end(), std::back_inserter(analysis.verdicts));
  }
  analysis.certified = certifiedStatus(analysis.verdicts);
  return analysis;
}

Analysis fusebox::analyzeModel(const ModelFacts &facts, const AnalysisOptions &options) {
  return judgeModel(facts, measureWeights(facts, analysisThreads(options.threads)), options);
}
