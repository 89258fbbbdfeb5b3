// Typed access to GGUF metadata.
#include "frontends/gguf/GgufFile.h"

#include <cstring>

using namespace fusebox;

namespace {

/// The elements of a number array, each converted to `Out`.
template <typename Out> std::vector<Out> convertNumbers(const GgufArray &array) {
  std::vector<Out> out(array.count);
  auto fill = [&]<typename In>(In) {
    for (uint64_t i = 0; i < array.count; ++i) {
      In value;
      std::memcpy(&value, array.numbers.data() + i * sizeof(In), sizeof(In));
      out[i] = Out(value);
    }
  };
  switch (array.elementType) {
  case GgufType::U8:
  case GgufType::Bool:
    fill(uint8_t());
    break;
  case GgufType::I8:
    fill(int8_t());
    break;
  case GgufType::U16:
    fill(uint16_t());
    break;
  case GgufType::I16:
    fill(int16_t());
    break;
  case GgufType::U32:
    fill(uint32_t());
    break;
  case GgufType::I32:
    fill(int32_t());
    break;
  case GgufType::U64:
    fill(uint64_t());
    break;
  case GgufType::I64:
    fill(int64_t());
    break;
  case GgufType::F32:
    fill(float());
    break;
  case GgufType::F64:
    fill(double());
    break;
  case GgufType::String:
  case GgufType::Array:
    break;
  }
  return out;
}

bool isReal(GgufType type) { return type == GgufType::F32 || type == GgufType::F64; }
bool isText(GgufType type) { return type == GgufType::String || type == GgufType::Array; }

} // namespace

const GgufValue *GgufMetadata::find(std::string_view key) const {
  auto found = values.find(key);
  return found == values.end() ? nullptr : &found->second;
}

std::optional<std::string_view> GgufMetadata::asString(std::string_view key) const {
  const GgufValue *value = find(key);
  auto *text = value ? std::get_if<std::string_view>(value) : nullptr;
  return text ? std::optional(*text) : std::nullopt;
}

std::optional<int64_t> GgufMetadata::asInteger(std::string_view key) const {
  const GgufValue *value = find(key);
  if (!value)
    return std::nullopt;
  if (auto *number = std::get_if<uint64_t>(value))
    return *number <= uint64_t(INT64_MAX) ? std::optional(int64_t(*number)) : std::nullopt;
  auto *number = std::get_if<int64_t>(value);
  return number ? std::optional(*number) : std::nullopt;
}

std::optional<double> GgufMetadata::asReal(std::string_view key) const {
  const GgufValue *value = find(key);
  if (auto *number = value ? std::get_if<double>(value) : nullptr)
    return *number;
  std::optional<int64_t> integer = asInteger(key);
  return integer ? std::optional(double(*integer)) : std::nullopt;
}

std::optional<bool> GgufMetadata::asBool(std::string_view key) const {
  const GgufValue *value = find(key);
  auto *flag = value ? std::get_if<bool>(value) : nullptr;
  return flag ? std::optional(*flag) : std::nullopt;
}

const std::vector<std::string_view> *GgufMetadata::asStrings(std::string_view key) const {
  const GgufValue *value = find(key);
  auto *array = value ? std::get_if<GgufArray>(value) : nullptr;
  return array && array->elementType == GgufType::String ? &array->strings : nullptr;
}

std::optional<std::vector<int64_t>> GgufMetadata::asIntegers(std::string_view key) const {
  const GgufValue *value = find(key);
  auto *array = value ? std::get_if<GgufArray>(value) : nullptr;
  if (!array || isText(array->elementType) || isReal(array->elementType))
    return std::nullopt;
  return convertNumbers<int64_t>(*array);
}

std::optional<std::vector<float>> GgufMetadata::asReals(std::string_view key) const {
  const GgufValue *value = find(key);
  auto *array = value ? std::get_if<GgufArray>(value) : nullptr;
  if (!array || isText(array->elementType))
    return std::nullopt;
  return convertNumbers<float>(*array);
}
