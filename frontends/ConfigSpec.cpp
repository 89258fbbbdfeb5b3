// config.json and generation_config.json.
#include "frontends/ReadSpec.h"
#include "frontends/families/Facts.h"

#include <algorithm>

using namespace fusebox;
using nlohmann::json;

namespace {

std::string modelTypeOf(const json &config) {
  auto found = config.is_object() ? config.find("model_type") : config.end();
  return found != config.end() && found->is_string() ? found->get<std::string>() : "";
}

/// A folder of the same model_type may hold another head than a language model's.
Result<void> checkArchitecture(const json &config, const Family &family, const std::string &file) {
  auto found = config.find("architectures");
  if (found == config.end() || found->is_null() || family.architectures.empty())
    return {};
  bool known = found->is_array() && std::any_of(found->begin(), found->end(), [&](const json &item) {
                 return std::any_of(family.architectures.begin(), family.architectures.end(),
                                    [&](const std::string &name) { return sameScalar(item, name); });
               });
  if (!known)
    return modelError(file + ": the key 'architectures' is " +
                      found->dump(-1, ' ', false, json::error_handler_t::replace) + "; the family '" +
                      family.name + "' supports " + family.architectures.front());
  return {};
}

} // namespace

Result<SpecWithFamily> fusebox::specFromConfig(const json &config, const FamilyTable &families,
                                               const std::string &file) {
  std::string modelType = modelTypeOf(config);
  const Family *family = families.findByModelType(modelType);
  if (!family)
    return modelError(file + ": the key 'model_type' is '" + modelType + "'; known are " +
                      families.modelTypeList() + " (docs/add-a-family.md says how to add one)");
  FUSEBOX_TRY(checkArchitecture(config, *family, file));
  FUSEBOX_ASSIGN(Facts facts, readFacts(config, family->configKeys, family->configHarmless, *family, file));
  addFamilyFacts(facts, *family);
  FUSEBOX_ASSIGN(ModelSpec spec, specFromFacts(facts, *family, family->configKeys, file));
  spec.modelType = modelType;
  spec.parameters = parameterTable(spec, facts, *family, /*gguf=*/false);
  return SpecWithFamily{std::move(spec), family};
}

Result<void> fusebox::addGenerationConfig(ModelSpec &spec, const json &generation, const std::string &file) {
  if (!generation.is_object())
    return modelError(file + ": a JSON object was expected; fetch the file again");
  auto found = generation.find("eos_token_id");
  if (found == generation.end() || found->is_null())
    return {};
  std::vector<int64_t> ids;
  for (const json &item : found->is_array() ? *found : json::array({*found})) {
    if (!item.is_number_integer())
      return modelError(file + ": the key 'eos_token_id' must be a token id or a list of them");
    ids.push_back(item.get<int64_t>());
  }
  spec.eosIds = std::move(ids);
  return {};
}
