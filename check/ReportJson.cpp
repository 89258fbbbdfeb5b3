#include "check/CheckReport.h"

#include <cmath>
#include <nlohmann/json.hpp>

using namespace fusebox;
using Json = nlohmann::ordered_json;

namespace {

Json number(double value) {
  if (std::isnan(value))
    return nullptr;
  if (std::isinf(value))
    return value > 0 ? "inf" : "-inf";
  return value;
}

double fromNumber(const Json &value) {
  if (value.is_null())
    return notApplicable;
  if (value.is_string())
    return std::numeric_limits<double>::infinity();
  return value.get<double>();
}

Json gainJson(const std::optional<GainSummary> &gain) {
  if (!gain)
    return nullptr;
  return {{"max", number(gain->max)},
          {"median", number(gain->median)},
          {"ratio", number(gain->ratio)},
          {"variance", number(gain->variance)},
          {"not_finite", gain->notFinite}};
}

std::optional<GainSummary> gainFrom(const Json &json) {
  if (json.is_null())
    return {};
  GainSummary gain;
  gain.max = fromNumber(json.at("max"));
  gain.median = fromNumber(json.at("median"));
  gain.ratio = fromNumber(json.at("ratio"));
  gain.variance = fromNumber(json.at("variance"));
  gain.notFinite = json.at("not_finite");
  return gain;
}

Json heuristicJson(const Heuristic &heuristic) {
  Json json = {{"applicable", heuristic.applicable()}, {"status", statusName(heuristic.status)}};
  if (!heuristic.applicable()) {
    for (const char *key :
         {"score", "ratio", "amplification", "estimated_error", "extreme_layers", "layers", "variance"})
      json[key] = nullptr;
    json["per_layer"] = Json::array();
    return json;
  }
  json["score"] = number(heuristic.score);
  json["ratio"] = number(heuristic.ratio);
  json["amplification"] = number(heuristic.amplification);
  json["estimated_error"] = number(heuristic.estimatedError);
  json["extreme_layers"] = heuristic.extremeLayers;
  json["layers"] = heuristic.modelLayers;
  json["variance"] = number(heuristic.variance);
  Json &layers = json["per_layer"] = Json::array();
  for (const HeuristicLayer &layer : heuristic.layers)
    layers.push_back({{"layer", layer.layer},
                      {"problematic", layer.problematic},
                      {"extreme", layer.extreme},
                      {"k", gainJson(layer.k)},
                      {"q", gainJson(layer.q)}});
  return json;
}

Status statusFrom(const std::string &name) {
  for (Status status : {Status::Compatible, Status::Warning, Status::Incompatible})
    if (statusName(status) == name)
      return status;
  return Status::NotApplicable;
}

Heuristic heuristicFrom(const Json &json) {
  Heuristic heuristic;
  heuristic.status = statusFrom(json.at("status"));
  if (!heuristic.applicable())
    return heuristic;
  heuristic.score = fromNumber(json.at("score"));
  heuristic.ratio = fromNumber(json.at("ratio"));
  heuristic.amplification = fromNumber(json.at("amplification"));
  heuristic.estimatedError = fromNumber(json.at("estimated_error"));
  heuristic.extremeLayers = json.at("extreme_layers");
  heuristic.modelLayers = json.at("layers");
  heuristic.variance = fromNumber(json.at("variance"));
  for (const Json &entry : json.at("per_layer")) {
    HeuristicLayer layer;
    layer.layer = entry.at("layer");
    layer.problematic = entry.at("problematic");
    layer.extreme = entry.at("extreme");
    layer.k = gainFrom(entry.at("k"));
    layer.q = gainFrom(entry.at("q"));
    heuristic.notFinite += (layer.k ? layer.k->notFinite : 0) + (layer.q ? layer.q->notFinite : 0);
    heuristic.layers.push_back(layer);
  }
  return heuristic;
}

Json measuredJson(const std::optional<MeasuredSummary> &measured) {
  if (!measured)
    return nullptr;
  auto range = [](const MeasuredRange &range) {
    return Json{
        {"least", number(range.least)}, {"median", number(range.median)}, {"largest", number(range.largest)}};
  };
  return {{"tokens", measured->tokens},
          {"reference_over_expected", range(measured->overExpected)},
          {"worst_head_over_expected", range(measured->headOverExpected)},
          {"wide_over_reference", range(measured->wideOverReference)}};
}

Rebalancing rebalancingFrom(const Json &json) {
  Rebalancing would;
  would.moved = json.at("moved");
  would.held = json.at("held");
  would.unevenBefore = fromNumber(json.at("uneven_before"));
  would.unevenAfter = fromNumber(json.at("uneven_after"));
  if (const Json &heuristic = json.at("heuristic"); !heuristic.is_null())
    would.heuristic = heuristicFrom(heuristic);
  return would;
}

Json verdictJson(const Verdict &verdict) {
  Json layer = nullptr;
  if (verdict.layer != noLayer)
    layer = verdict.layer;
  return {{"layer", layer},
          {"node", verdict.node},
          {"contract", contractName(verdict.contract)},
          {"legal", verdict.legal},
          {"basis", basisName(verdict.basis)},
          {"range", number(verdict.range)},
          {"deviation_worst", number(verdict.deviationWorst)},
          {"deviation_expected", number(verdict.deviationExpected)},
          {"kl", number(verdict.kl)},
          {"semantics_proved", verdict.semanticsProved},
          {"range_proved", verdict.rangeProved},
          {"fits_fp16", verdict.fitsFp16},
          {"reason", verdict.reason}};
}

Verdict verdictFrom(const Json &json) {
  Verdict verdict;
  verdict.layer = json.at("layer").is_null() ? noLayer : json.at("layer").get<int64_t>();
  verdict.node = json.at("node");
  std::string contractText = json.at("contract"), basisText = json.at("basis");
  for (Contract contract : {Contract::Exact, Contract::Wide, Contract::Fast, Contract::Reference})
    if (contractName(contract) == contractText)
      verdict.contract = contract;
  verdict.legal = json.at("legal");
  for (Basis basis : {Basis::Proved, Basis::Expected, Basis::Measured})
    if (basisName(basis) == basisText)
      verdict.basis = basis;
  verdict.range = fromNumber(json.at("range"));
  verdict.deviationWorst = fromNumber(json.at("deviation_worst"));
  verdict.deviationExpected = fromNumber(json.at("deviation_expected"));
  verdict.kl = fromNumber(json.at("kl"));
  verdict.semanticsProved = json.at("semantics_proved");
  verdict.rangeProved = json.at("range_proved");
  verdict.fitsFp16 = json.at("fits_fp16");
  verdict.reason = json.at("reason");
  return verdict;
}

} // namespace

Json fusebox::reportJson(const CheckReport &report) {
  Json json = {{"format", 1},
               {"model", report.model},
               {"architecture", report.architecture},
               {"policy", policyName(report.policy)},
               {"status", statusName(report.status)},
               {"certified_status", statusName(report.analysis.certified)},
               {"certified_regions", certifiedRegions(report.analysis)},
               {"weight_hash", report.weightHash.empty() ? Json() : Json(report.weightHash)},
               {"profile", report.profile},
               {"rounding", report.rounding},
               {"activations", report.activations},
               {"thresholds",
                {{"extreme", report.limits.heuristic.extreme},
                 {"ratio", report.limits.heuristic.ratio},
                 {"amplification", report.limits.heuristic.amplification},
                 {"variance", report.limits.heuristic.variance},
                 {"error", report.limits.heuristic.error},
                 {"kl_budget", report.limits.klBudget}}},
               {"issues", listIssues(report, false)},
               {"recommendation", recommend(report)},
               {"guidance", report.guidance},
               {"heuristic", heuristicJson(report.analysis.heuristic)}};
  const Rebalancing &would = report.analysis.rebalancing;
  json["rebalancing"] = {{"moved", would.moved},
                         {"held", would.held},
                         {"uneven_before", number(would.unevenBefore)},
                         {"uneven_after", number(would.unevenAfter)},
                         {"heuristic", would.heuristic ? heuristicJson(*would.heuristic) : Json()}};
  json["measured"] = measuredJson(report.measured);
  Json &certificates = json["certificates"] = Json::array();
  for (const Verdict &verdict : report.analysis.verdicts)
    certificates.push_back(verdictJson(verdict));
  return json;
}

Result<Analysis> fusebox::analysisFromJson(const Json &report, const std::string &file) {
  try {
    Analysis analysis;
    analysis.heuristic = heuristicFrom(report.at("heuristic"));
    analysis.rebalancing = rebalancingFrom(report.at("rebalancing"));
    for (const Json &entry : report.at("certificates"))
      analysis.verdicts.push_back(verdictFrom(entry));
    analysis.certified = certifiedStatus(analysis.verdicts);
    return analysis;
  } catch (const nlohmann::json::exception &error) {
    return modelError(file + ": is no report of a check: " + error.what());
  }
}
