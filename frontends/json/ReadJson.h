// JSON text to nlohmann::json with our errors: no exceptions, no duplicate keys, bounded depth.
#pragma once

#include "support/Result.h"

#include <nlohmann/json.hpp>

#include <cstddef>
#include <span>
#include <string>

namespace fusebox {

/// Parses `text`, whole. Fails with ErrorKind::Model on a syntax error, a key that occurs twice in one
/// object, or nesting deeper than 64; `name` is the file for the message.
Result<nlohmann::json> readJson(std::span<const std::byte> text, const std::string &name);

/// Maps and parses a file.
Result<nlohmann::json> readJsonFile(const std::string &path);

} // namespace fusebox
