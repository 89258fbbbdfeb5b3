// A GGUF's metadata, and what its tensors tell, to a ModelSpec.
#include "frontends/ReadSpec.h"
#include "frontends/families/Facts.h"
#include "frontends/gguf/GgufFile.h"
#include "support/Dequantise.h"

#include <cmath>

using namespace fusebox;
using nlohmann::json;

namespace {

/// Longer arrays are the tokenizer's and no facts.
constexpr uint64_t maxFactArray = 4096;

json toJson(const GgufMetadata &metadata, std::string_view key, const GgufValue &value) {
  if (auto *text = std::get_if<std::string_view>(&value))
    return std::string(*text);
  if (auto *flag = std::get_if<bool>(&value))
    return *flag;
  if (auto *number = std::get_if<double>(&value))
    return *number;
  if (auto *number = std::get_if<uint64_t>(&value))
    return *number;
  if (auto *number = std::get_if<int64_t>(&value))
    return *number;
  json items = json::array();
  if (std::get<GgufArray>(value).count <= maxFactArray) {
    if (auto integers = metadata.asIntegers(key))
      items = *integers;
    else if (auto reals = metadata.asReals(key))
      items = *reals;
  }
  return items;
}

/// The metadata that says what the model computes, as one object: the keys of `architecture`, without its
/// name, and of the others, which programs add as they like, those that have a rule.
json describe(const GgufMetadata &metadata, const std::string &architecture, const KeyRules &rules) {
  json description = json::object();
  for (const auto &[key, value] : metadata.all()) {
    std::string name(key);
    if (name.starts_with(architecture + "."))
      description[name.substr(architecture.size() + 1)] = toJson(metadata, key, value);
    else if (rules.count(name))
      description[name] = toJson(metadata, key, value);
  }
  return description;
}

void addTensorFacts(Facts &facts, const Family &family, const Checkpoint &checkpoint) {
  for (const auto &[fact, tensor] : family.ggufTensorFacts.present)
    facts[fact] = {checkpoint.find(tensor) != nullptr, tensor};
  for (const auto &[fact, tensor] : family.ggufTensorFacts.absent)
    facts[fact] = {checkpoint.find(tensor) == nullptr, tensor};
  for (const auto &[fact, tensor] : family.ggufTensorFacts.rows) {
    const StoredTensor *stored = checkpoint.find(tensor);
    if (stored && !stored->shape.empty())
      facts[fact] = {stored->shape.front(), tensor};
  }
}

Result<void> addFrequencyFactors(ModelSpec &spec, const Checkpoint &checkpoint, const std::string &tensorName,
                                 const std::string &file) {
  const StoredTensor *stored = tensorName.empty() ? nullptr : checkpoint.find(tensorName);
  if (!stored)
    return {};
  auto fail = [&](const std::string &what) {
    return modelError(file + ": tensor '" + tensorName + "' " + what);
  };
  if (stored->dtype != DType::F32 || stored->shape != std::vector<int64_t>{spec.rope.rotaryDim / 2})
    return fail("must have " + std::to_string(spec.rope.rotaryDim / 2) +
                " values of type f32; fetch the file again");
  if (spec.rope.scaling != RopeScaling::None)
    return fail("and the metadata both scale RoPE; which one is meant is unclear");
  spec.rope.frequencyFactors.resize(size_t(spec.rope.rotaryDim / 2));
  FUSEBOX_TRY(dequantiseRow(stored->dtype, checkpoint.data(*stored), spec.rope.frequencyFactors.size(),
                            spec.rope.frequencyFactors.data()));
  for (float factor : spec.rope.frequencyFactors) {
    if (!std::isfinite(factor) || factor <= 0)
      return fail("has a factor that is not above 0; the file is damaged, fetch it again");
  }
  return {};
}

} // namespace

Result<SpecWithFamily> fusebox::specFromGguf(const Checkpoint &checkpoint, const FamilyTable &families,
                                             const std::string &file) {
  const GgufMetadata &metadata = *checkpoint.gguf();
  std::string architecture(metadata.asString("general.architecture").value_or(""));
  const Family *family = families.findByGgufArchitecture(architecture);
  if (!family)
    return modelError(file + ": the key 'general.architecture' is '" + architecture + "'; known are " +
                      families.ggufArchitectureList() + " (docs/add-a-family.md says how to add one)");
  FUSEBOX_ASSIGN(Facts facts, readFacts(describe(metadata, architecture, family->ggufKeys), family->ggufKeys,
                                        family->ggufHarmless, *family, file));
  addTensorFacts(facts, *family, checkpoint);
  addFamilyFacts(facts, *family);
  FUSEBOX_ASSIGN(ModelSpec spec, specFromFacts(facts, *family, family->ggufKeys, file));
  spec.modelType = architecture;
  FUSEBOX_TRY(addFrequencyFactors(spec, checkpoint, family->ggufFrequencyFactors, file));
  spec.parameters = parameterTable(spec, facts, *family, /*gguf=*/true);
  // The file says how weights are stored, not how to compute: bf16, unless nothing was rounded at all.
  const ParamSpec *embedding = spec.findParameter("embed");
  const StoredTensor *stored = embedding ? checkpoint.find(embedding->tensorName) : nullptr;
  spec.dtype = stored && stored->dtype == DType::F32 ? DType::F32 : DType::BF16;
  return SpecWithFamily{std::move(spec), family};
}
