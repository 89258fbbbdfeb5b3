// As much of JSON Schema as docs/check-report.schema.json uses: type, enum, anyOf, $ref within the file,
// required, properties, additionalProperties: false, items, minimum. A keyword it doesn't know is an error.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace fusebox::test {

/// What is wrong with `value`, a line each with the place; empty if it fits `schema`.
std::vector<std::string> validate(const nlohmann::json &value, const nlohmann::json &schema);

} // namespace fusebox::test
