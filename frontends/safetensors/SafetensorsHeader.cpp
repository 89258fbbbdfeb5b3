#include "frontends/safetensors/SafetensorsHeader.h"

#include "frontends/TensorRanges.h"
#include "frontends/json/ReadJson.h"

#include <cstring>
#include <optional>

using namespace fusebox;
using nlohmann::json;

namespace {

constexpr uint64_t prefixBytes = 8;

std::optional<DType> safetensorsType(const std::string &name) {
  static const std::map<std::string, DType> types = {
      {"F64", DType::F64}, {"F32", DType::F32},  {"F16", DType::F16}, {"BF16", DType::BF16},
      {"I64", DType::I64}, {"I32", DType::I32},  {"I16", DType::I16}, {"I8", DType::I8},
      {"U8", DType::U8},   {"BOOL", DType::Bool}};
  auto found = types.find(name);
  return found == types.end() ? std::nullopt : std::optional(found->second);
}

/// A JSON number that is an unsigned integer.
std::optional<uint64_t> asUnsigned(const json &value) {
  return value.is_number_unsigned() ? std::optional(value.get<uint64_t>()) : std::nullopt;
}

/// Reads one entry of the header; `dataStart` is where data offsets count from.
Result<StoredTensor> readEntry(const std::string &tensorName, const json &entry, uint64_t dataStart,
                               const std::string &file) {
  auto fail = [&](const std::string &what) {
    return modelError(file + ": tensor '" + tensorName + "' " + what +
                      "; the file is damaged, fetch it again");
  };
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets"))
    return fail("lacks dtype, shape or data_offsets");
  const json &typeName = entry["dtype"], &shape = entry["shape"], &offsets = entry["data_offsets"];
  std::optional<DType> type =
      typeName.is_string() ? safetensorsType(typeName.get<std::string>()) : std::nullopt;
  if (!type)
    return modelError(file + ": tensor '" + tensorName + "' has the type " +
                      typeName.dump(-1, ' ', true, json::error_handler_t::replace) +
                      "; F64, F32, F16, BF16, I64, I32, I16, I8, U8 and BOOL can be read");

  StoredTensor tensor;
  tensor.name = tensorName;
  tensor.dtype = *type;
  if (!shape.is_array() || shape.size() > maxTensorRank)
    return fail("has no list of up to " + std::to_string(maxTensorRank) + " dimensions as its shape");
  for (const json &extent : shape) {
    std::optional<uint64_t> size = asUnsigned(extent);
    if (!size || *size > uint64_t(INT64_MAX))
      return fail("has a dimension that is not a size");
    tensor.shape.push_back(int64_t(*size));
  }
  std::optional<uint64_t> bytes = storedBytes(tensor.dtype, tensor.shape);
  if (!bytes)
    return fail("has a shape larger than any file");

  std::optional<uint64_t> begin, end;
  if (offsets.is_array() && offsets.size() == 2)
    begin = asUnsigned(offsets[0]), end = asUnsigned(offsets[1]);
  if (!begin || !end || *begin > *end)
    return fail("has data_offsets that are no range");
  if (*end - *begin != *bytes)
    return fail("has " + std::to_string(*end - *begin) + " bytes where its shape and type need " +
                std::to_string(*bytes));
  if (*end > UINT64_MAX - dataStart)
    return fail("lies outside the file");
  tensor.offset = dataStart + *begin;
  tensor.bytes = *bytes;
  return tensor;
}

} // namespace

Result<std::vector<StoredTensor>> fusebox::parseSafetensors(std::span<const std::byte> bytes,
                                                            const std::string &name) {
  uint64_t headerBytes = 0;
  if (bytes.size() < prefixBytes)
    return modelError(name + ": too short for a safetensors file; fetch it again");
  std::memcpy(&headerBytes, bytes.data(), prefixBytes);
  if (headerBytes > maxSafetensorsHeader)
    return modelError(name + ": its header would have " + std::to_string(headerBytes) +
                      " bytes, more than the format allows; this is no safetensors file, or a damaged one");
  if (headerBytes > bytes.size() - prefixBytes)
    return modelError(name + ": ends inside its header; fetch it again");
  FUSEBOX_ASSIGN(json header, readJson(bytes.subspan(prefixBytes, headerBytes), name));
  if (!header.is_object())
    return modelError(name + ": its header is no JSON object; the file is damaged, fetch it again");

  uint64_t dataStart = prefixBytes + headerBytes;
  std::vector<StoredTensor> tensors;
  for (const auto &[tensorName, entry] : header.items()) {
    if (tensorName == "__metadata__")
      continue;
    FUSEBOX_ASSIGN(StoredTensor tensor, readEntry(tensorName, entry, dataStart, name));
    tensors.push_back(std::move(tensor));
  }
  FUSEBOX_TRY(checkTensorRanges(tensors, {dataStart, bytes.size()}, /*gapsAllowed=*/false, name));
  return tensors;
}

Result<std::map<std::string, std::string>> fusebox::parseSafetensorsIndex(std::span<const std::byte> bytes,
                                                                          const std::string &name) {
  FUSEBOX_ASSIGN(json index, readJson(bytes, name));
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
    return modelError(name + ": has no 'weight_map' from tensors to files; fetch it again");
  std::map<std::string, std::string> shards;
  for (const auto &[tensor, shard] : index["weight_map"].items()) {
    std::string file = shard.is_string() ? shard.get<std::string>() : "";
    bool plain = !file.empty() && file != "." && file != ".." &&
                 file.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
    if (!plain)
      return modelError(name + ": the file of tensor '" + tensor +
                        "' is not a plain file name; fetch the index again");
    shards.emplace(tensor, std::move(file));
  }
  if (shards.empty())
    return modelError(name + ": its 'weight_map' is empty; fetch it again");
  return shards;
}
