// Facts: named values that a description or a family file states, before they become a ModelSpec.
#pragma once

#include "frontends/ModelSpec.h"
#include "frontends/families/Family.h"
#include "support/Result.h"

#include <nlohmann/json.hpp>

#include <map>
#include <string>
#include <string_view>

namespace fusebox {

/// A fact's value and the key that stated it (empty: the family file).
struct StatedFact {
  nlohmann::json value;
  std::string key;
};
using Facts = std::map<std::string, StatedFact>;

/// Whether `name` is a fact, or an extent that a tensor's shape can name.
bool isFactName(std::string_view name);
bool isExtentName(std::string_view name);

/// Whether a JSON value is the scalar that YAML writes as `text`; numbers compare by value.
bool sameScalar(const nlohmann::json &value, const std::string &text);

/// The facts that `description` states by the rules of its keys. null values state nothing. `file` is for
/// messages. Fails with ErrorKind::Model on a key without a rule that is not harmless, a value that can't be
/// honoured, or two keys that state different values of one fact.
Result<Facts> readFacts(const nlohmann::json &description, const KeyRules &rules,
                        const std::vector<std::string> &harmless, const Family &family,
                        const std::string &file);

/// Adds the family's own value of each fact that the description does not state.
void addFamilyFacts(Facts &facts, const Family &family);

/// Turns complete facts into a description without its parameter table: derives what follows from them and
/// checks ranges and relations. Fails with ErrorKind::Model, naming file and key; `rules` tell which key
/// states a fact.
Result<ModelSpec> specFromFacts(const Facts &facts, const Family &family, const KeyRules &rules,
                                const std::string &file);

/// The parameter table of `spec`, with names of safetensors or GGUF.
std::vector<ParamSpec> parameterTable(const ModelSpec &spec, const Facts &facts, const Family &family,
                                      bool gguf);

} // namespace fusebox
