// Family YAML to records.
#include "frontends/families/Facts.h"
#include "frontends/families/Family.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <set>

using namespace fusebox;

namespace {

/// Thrown inside this file only, beside yaml-cpp's own exceptions, and caught in parseFamily.
struct FormatError {
  YAML::Mark mark;
  std::string message;
};

[[noreturn]] void refuse(const YAML::Node &node, const std::string &message) {
  throw FormatError{node.Mark(), message};
}

std::string text(const YAML::Node &node) {
  if (!node.IsScalar())
    refuse(node, "a single value was expected");
  return node.Scalar();
}

std::vector<std::string> list(const YAML::Node &node) {
  std::vector<std::string> items;
  if (node.IsScalar())
    return {node.Scalar()};
  if (!node.IsSequence())
    refuse(node, "a list was expected");
  for (const YAML::Node &item : node)
    items.push_back(text(item));
  return items;
}

void expectMap(const YAML::Node &node, const std::set<std::string> &allowed) {
  if (!node.IsMap())
    refuse(node, "key: value pairs were expected");
  for (const auto &entry : node) {
    if (!allowed.empty() && !allowed.count(text(entry.first)))
      refuse(entry.first, "'" + text(entry.first) + "' has no meaning here");
  }
}

/// `name`, if it is a fact.
std::string fact(const YAML::Node &node, const std::string &name) {
  if (!isFactName(name))
    refuse(node, "'" + name + "' is not a fact (docs/add-a-family.md lists them)");
  return name;
}

/// fact → text.
void mergeFactMap(std::map<std::string, std::string> &into, const YAML::Node &node) {
  expectMap(node, {});
  for (const auto &entry : node)
    into[fact(entry.first, text(entry.first))] = text(entry.second);
}

KeyRules parseRules(const YAML::Node &node);

std::vector<std::string> factList(const YAML::Node &node) {
  std::vector<std::string> facts = list(node);
  for (const std::string &name : facts)
    fact(node, name);
  return facts;
}

KeyRule parseRule(const YAML::Node &node) {
  KeyRule rule;
  if (!node.IsMap()) {
    rule.facts = factList(node);
    return rule;
  }
  expectMap(node, {"to", "values", "only", "keys"});
  if (node["to"])
    rule.facts = factList(node["to"]);
  if (node["only"])
    rule.only = list(node["only"]);
  if (node["keys"])
    rule.keys = parseRules(node["keys"]);
  if (rule.facts.empty() + rule.only.empty() + rule.keys.empty() != 2)
    refuse(node, "one of 'to', 'only' and 'keys' was expected");
  if (node["values"]) {
    expectMap(node["values"], {});
    for (const auto &entry : node["values"])
      rule.values[text(entry.first)] = text(entry.second);
  }
  return rule;
}

KeyRules parseRules(const YAML::Node &node) {
  expectMap(node, {});
  KeyRules rules;
  for (const auto &entry : node)
    rules[text(entry.first)] = parseRule(entry.second);
  return rules;
}

/// Rules of the family replace the common ones of the same key.
void mergeRules(KeyRules &into, const YAML::Node &node) {
  for (auto &[key, rule] : parseRules(node))
    into[key] = std::move(rule);
}

void append(std::vector<std::string> &into, const YAML::Node &node) {
  for (std::string &item : list(node))
    into.push_back(std::move(item));
}

void mergeTensors(std::vector<TensorRule> &into, const YAML::Node &node) {
  expectMap(node, {});
  for (const auto &entry : node) {
    std::string role = text(entry.first);
    std::erase_if(into, [&](const TensorRule &rule) { return rule.role == role; });
    if (entry.second.IsNull())
      continue; // "role: ~" takes the common parameter away
    expectMap(entry.second, {"hf", "gguf", "shape", "if"});
    if (!entry.second["hf"] || !entry.second["gguf"] || !entry.second["shape"])
      refuse(entry.second, "a tensor needs 'hf', 'gguf' and 'shape'");
    TensorRule rule{.role = role,
                    .hfName = text(entry.second["hf"]),
                    .ggufName = text(entry.second["gguf"]),
                    .shape = list(entry.second["shape"]),
                    .conditions = {}};
    if ((rule.hfName.find("{}") == std::string::npos) != (rule.ggufName.find("{}") == std::string::npos))
      refuse(entry.second, "both names or none must have {} for the layer");
    for (const std::string &extent : rule.shape) {
      if (!isExtentName(extent))
        refuse(entry.second["shape"], "'" + extent + "' is not an extent (docs/add-a-family.md lists them)");
    }
    if (entry.second["if"])
      mergeFactMap(rule.conditions, entry.second["if"]);
    into.push_back(std::move(rule));
  }
}

void mergeGguf(Family &family, const YAML::Node &node) {
  expectMap(node, {"keys", "harmless", "present", "absent", "rows", "frequency_factors", "recipes"});
  if (node["keys"])
    mergeRules(family.ggufKeys, node["keys"]);
  if (node["harmless"])
    append(family.ggufHarmless, node["harmless"]);
  if (node["present"])
    mergeFactMap(family.ggufTensorFacts.present, node["present"]);
  if (node["absent"])
    mergeFactMap(family.ggufTensorFacts.absent, node["absent"]);
  if (node["rows"])
    mergeFactMap(family.ggufTensorFacts.rows, node["rows"]);
  if (node["frequency_factors"])
    family.ggufFrequencyFactors = text(node["frequency_factors"]);
  if (node["recipes"]) {
    expectMap(node["recipes"], {});
    for (const auto &entry : node["recipes"]) {
      std::string recipe = text(entry.second);
      if (recipe != "identity" && recipe != "unpermute-rope")
        refuse(entry.second, "'" + recipe + "' is not a recipe; there are identity and unpermute-rope");
      family.ggufRecipes[text(entry.first)] = recipe;
    }
  }
}

void merge(Family &family, const std::string &document) {
  YAML::Node root = YAML::Load(document);
  expectMap(root, {"model_types", "architectures", "gguf_architectures", "facts", "config", "harmless",
                   "gguf", "tensors", "ignored_tensors"});
  if (root["model_types"])
    append(family.modelTypes, root["model_types"]);
  if (root["architectures"])
    append(family.architectures, root["architectures"]);
  if (root["gguf_architectures"])
    append(family.ggufArchitectures, root["gguf_architectures"]);
  if (root["facts"])
    mergeFactMap(family.facts, root["facts"]);
  if (root["config"])
    mergeRules(family.configKeys, root["config"]);
  if (root["harmless"])
    append(family.configHarmless, root["harmless"]);
  if (root["gguf"])
    mergeGguf(family, root["gguf"]);
  if (root["tensors"])
    mergeTensors(family.tensors, root["tensors"]);
  if (root["ignored_tensors"])
    append(family.ignoredTensors, root["ignored_tensors"]);
}

} // namespace

Result<Family> fusebox::parseFamily(const std::string &name, const std::string &commonText,
                                    const std::string &text) {
  Family family;
  family.name = name;
  std::string file = "common.yaml";
  auto fail = [&](const YAML::Mark &mark, const std::string &message) {
    return modelError(file + ":" + std::to_string(mark.line + 1) + ": " + message);
  };
  try {
    merge(family, commonText);
    file = name + ".yaml";
    merge(family, text);
  } catch (const FormatError &error) {
    return fail(error.mark, error.message);
  } catch (const YAML::Exception &error) {
    return fail(error.mark, error.msg);
  }
  if (family.modelTypes.empty() && family.ggufArchitectures.empty())
    return modelError(file +
                      ": has neither model_types nor gguf_architectures, so that no model can be of it");
  return family;
}
