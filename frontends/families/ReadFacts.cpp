// A description's keys, by their rules, to facts.
#include "frontends/families/Facts.h"

#include <algorithm>
#include <charconv>

using namespace fusebox;
using nlohmann::json;

namespace {

/// A JSON value for a message; damaged UTF-8 is replaced, long text cut.
std::string show(const json &value) {
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  return text.size() <= 80 ? text : text.substr(0, 77) + "...";
}

std::optional<double> asNumber(const std::string &text) {
  double value;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

/// A YAML scalar as the JSON value it means.
json fromYamlText(const std::string &text) {
  if (text == "true" || text == "false")
    return text == "true";
  if (std::optional<double> number = asNumber(text))
    return *number == int64_t(*number) ? json(int64_t(*number)) : json(*number);
  return text;
}

bool matches(const std::string &key, const std::vector<std::string> &patterns) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string &pattern) {
    return pattern.ends_with('*') ? key.starts_with(pattern.substr(0, pattern.size() - 1)) : key == pattern;
  });
}

std::string alternatives(const std::vector<std::string> &items) {
  std::string text;
  for (const std::string &item : items)
    text += (text.empty() ? "" : ", ") + item;
  return text;
}

/// Applies rules to one description.
class Reader {
public:
  Reader(const std::vector<std::string> &harmless, const Family &family, const std::string &file)
      : harmless(harmless), family(family), file(file) {}

  Result<void> readObject(const json &object, const KeyRules &rules, const std::string &prefix) {
    for (const auto &[key, value] : object.items()) {
      if (value.is_null())
        continue; // what is not there can't change anything
      auto rule = rules.find(key);
      if (rule != rules.end()) {
        FUSEBOX_TRY(apply(rule->second, value, prefix + key));
      } else if (!matches(prefix + key, harmless)) {
        return modelError(file + ": the key '" + prefix + key + "' (" + show(value) +
                          ") is unknown to the family '" + family.name +
                          "' and may change the mathematics; if it does not, list it as harmless in " +
                          family.name + ".yaml (docs/add-a-family.md)");
      }
    }
    return {};
  }

  Facts facts;

private:
  Result<void> apply(const KeyRule &rule, const json &value, const std::string &key) {
    if (!rule.keys.empty()) {
      if (!value.is_object())
        return modelError(file + ": the key '" + key + "' is " + show(value) + "; an object was expected");
      return readObject(value, rule.keys, key + ".");
    }
    if (!rule.only.empty())
      return checkOnly(rule.only, value, key);
    json meant = value;
    if (!rule.values.empty()) {
      auto found = std::find_if(rule.values.begin(), rule.values.end(),
                                [&](const auto &entry) { return sameScalar(value, entry.first); });
      if (found == rule.values.end()) {
        std::vector<std::string> known;
        for (const auto &[written, ignored] : rule.values)
          known.push_back(written);
        return unsupported(value, key, known);
      }
      meant = fromYamlText(found->second);
    }
    for (const std::string &fact : rule.facts) {
      auto [entry, added] = facts.try_emplace(fact, StatedFact{meant, key});
      if (!added && entry->second.value != meant)
        return modelError(file + ": the keys '" + entry->second.key + "' (" + show(entry->second.value) +
                          ") and '" + key + "' (" + show(meant) + ") contradict each other");
    }
    return {};
  }

  /// Each element of a list must be one of the values.
  Result<void> checkOnly(const std::vector<std::string> &only, const json &value, const std::string &key) {
    for (const json &item : value.is_array() ? value : json::array({value})) {
      bool known = std::any_of(only.begin(), only.end(),
                               [&](const std::string &text) { return sameScalar(item, text); });
      if (!known)
        return unsupported(item, key, only);
    }
    return {};
  }

  Error unsupported(const json &value, const std::string &key, const std::vector<std::string> &known) {
    return modelError(file + ": the key '" + key + "' has the value " + show(value) + "; the family '" +
                      family.name + "' supports " + alternatives(known));
  }

  const std::vector<std::string> &harmless;
  const Family &family;
  const std::string &file;
};

} // namespace

bool fusebox::sameScalar(const json &value, const std::string &text) {
  if (value.is_string())
    return value.get_ref<const std::string &>() == text;
  if (value.is_boolean())
    return text == (value.get<bool>() ? "true" : "false");
  std::optional<double> number = asNumber(text);
  return value.is_number() && number && value.get<double>() == *number;
}

Result<Facts> fusebox::readFacts(const json &description, const KeyRules &rules,
                                 const std::vector<std::string> &harmless, const Family &family,
                                 const std::string &file) {
  if (!description.is_object())
    return modelError(file + ": a JSON object was expected; fetch the file again");
  Reader reader(harmless, family, file);
  FUSEBOX_TRY(reader.readObject(description, rules, ""));
  return std::move(reader.facts);
}

void fusebox::addFamilyFacts(Facts &facts, const Family &family) {
  for (const auto &[fact, text] : family.facts)
    facts.try_emplace(fact, StatedFact{fromYamlText(text), ""});
}
