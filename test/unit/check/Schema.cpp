#include "test/unit/check/Schema.h"

#include <set>

using nlohmann::json;

namespace {

bool hasType(const json &value, const std::string &type) {
  if (type == "integer")
    return value.is_number_integer();
  if (type == "number")
    return value.is_number();
  return type == value.type_name();
}

class Validator {
public:
  explicit Validator(const json &root) : root(root) {}

  void check(const json &value, const json &schema, const std::string &at) {
    static const std::set<std::string> notes = {"$schema", "title", "description", "$defs"};
    for (const auto &[key, rule] : schema.items()) {
      if (key == "$ref")
        check(value, root.at(json::json_pointer(rule.get<std::string>().substr(1))), at);
      else if (key == "type")
        checkType(value, rule, at);
      else if (key == "enum")
        expect(std::find(rule.begin(), rule.end(), value) != rule.end(), at, "is none of " + rule.dump());
      else if (key == "anyOf")
        expect(fitsAny(value, rule), at, "fits none of " + rule.dump());
      else if (key == "required")
        for (const json &name : rule)
          expect(!value.is_object() || value.contains(name), at, "lacks " + name.dump());
      else if (key == "properties")
        checkProperties(value, rule, at);
      else if (key == "additionalProperties")
        checkNoOthers(value, schema, at);
      else if (key == "items")
        for (size_t i = 0; value.is_array() && i < value.size(); ++i)
          check(value[i], rule, at + "/" + std::to_string(i));
      else if (key == "minimum")
        expect(!value.is_number() || value >= rule, at, "is below " + rule.dump());
      else
        expect(notes.contains(key), at, "schema keyword '" + key + "' is not known");
    }
  }
  std::vector<std::string> problems;

private:
  void expect(bool holds, const std::string &at, const std::string &problem) {
    if (!holds)
      problems.push_back(at + ": " + problem);
  }
  void checkType(const json &value, const json &rule, const std::string &at) {
    bool fits = false;
    for (const json &type : rule.is_array() ? rule : json::array({rule}))
      fits |= hasType(value, type);
    expect(fits, at, "is " + value.dump().substr(0, 40) + ", not " + rule.dump());
  }
  bool fitsAny(const json &value, const json &rules) {
    for (const json &rule : rules) {
      Validator one(root);
      one.check(value, rule, "");
      if (one.problems.empty())
        return true;
    }
    return false;
  }
  void checkProperties(const json &value, const json &rules, const std::string &at) {
    for (const auto &[name, rule] : rules.items())
      if (value.is_object() && value.contains(name))
        check(value.at(name), rule, at + "/" + name);
  }
  void checkNoOthers(const json &value, const json &schema, const std::string &at) {
    if (!value.is_object())
      return;
    for (const auto &[name, field] : value.items())
      expect(schema.at("properties").contains(name), at, "has an unknown field '" + name + "'");
  }

  const json &root;
};

} // namespace

std::vector<std::string> fusebox::test::validate(const json &value, const json &schema) {
  Validator validator(schema);
  validator.check(value, schema, "");
  return validator.problems;
}
