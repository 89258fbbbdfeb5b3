// JSON text to nlohmann::json with our errors: no exceptions, no duplicate keys, bounded depth.
#pragma once

#include "support/Result.h"

#include <nlohmann/json.hpp>

#include <cstddef>
#include <span>
#include <string>

namespace fusebox {

/// Largest text accepted, in bytes: the limit of a safetensors header. A parsed text takes up to 35 times its
/// size.
inline constexpr size_t maxJsonBytes = 100'000'000;

/// Parses `text`, whole. Fails with ErrorKind::Model on a syntax error, a key that occurs twice in one
/// object, nesting deeper than 64, or more than maxJsonBytes; `name` is the file for the message.
Result<nlohmann::json> readJson(std::span<const std::byte> text, const std::string &name);

/// Maps and parses a file.
Result<nlohmann::json> readJsonFile(const std::string &path);

} // namespace fusebox
