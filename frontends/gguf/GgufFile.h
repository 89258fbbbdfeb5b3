// GGUF version 3: metadata and tensor directory (ggml-org/ggml docs/gguf.md). Used by Checkpoint, the family
// reader and the tokenizer.
//
// A parsed file keeps views into the bytes it was read from; a count is believed only as far as bytes for it
// are there, so that memory stays within a small multiple of the file.
#pragma once

#include "frontends/Checkpoint.h"
#include "support/Result.h"

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace fusebox {

/// Types of metadata values, numbered as in the file.
enum class GgufType : uint32_t {
  U8 = 0,
  I8 = 1,
  U16 = 2,
  I16 = 3,
  U32 = 4,
  I32 = 5,
  F32 = 6,
  Bool = 7,
  String = 8,
  Array = 9,
  U64 = 10,
  I64 = 11,
  F64 = 12,
};

/// A metadata array. Numbers stay in the file, at any alignment; read them with the asX functions of
/// GgufMetadata.
struct GgufArray {
  GgufType elementType = GgufType::U8;
  uint64_t count = 0;
  std::span<const std::byte> numbers;    ///< elementType is a number or Bool: count elements, little-endian
  std::vector<std::string_view> strings; ///< elementType == String
  std::vector<GgufArray> arrays;         ///< elementType == Array
};

/// Unsigned, signed and real numbers are widened to 64 bits.
using GgufValue = std::variant<uint64_t, int64_t, double, bool, std::string_view, GgufArray>;

/// The key-value part of a file. Views point into the mapped file.
class GgufMetadata {
public:
  /// The value of a key, or null.
  const GgufValue *find(std::string_view key) const;
  const std::map<std::string_view, GgufValue> &all() const { return values; }

  /// The value if the key is there and of that kind; integers convert if they fit.
  std::optional<std::string_view> asString(std::string_view key) const;
  std::optional<int64_t> asInteger(std::string_view key) const;
  std::optional<double> asReal(std::string_view key) const;
  std::optional<bool> asBool(std::string_view key) const;
  const std::vector<std::string_view> *asStrings(std::string_view key) const;
  std::optional<std::vector<int64_t>> asIntegers(std::string_view key) const;
  std::optional<std::vector<float>> asReals(std::string_view key) const;

  std::map<std::string_view, GgufValue> values;
  MappedFile file; ///< keeps the views alive; empty when parsed from a caller's bytes
};

/// A parsed header: metadata and tensors (file = 0, offsets from the file's start).
struct GgufHeader {
  GgufMetadata metadata;
  std::vector<StoredTensor> tensors; ///< in the file's order
};

/// Parses a GGUF's header; `bytes` is the whole file and must outlive the result. `name` is for messages.
/// Fails with ErrorKind::Model on a wrong magic, version, byte order or type, on truncation, duplicate keys
/// or names, misaligned, overlapping or outlying tensors.
Result<GgufHeader> parseGguf(std::span<const std::byte> bytes, const std::string &name);

} // namespace fusebox
