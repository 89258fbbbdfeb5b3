#include "frontends/gguf/GgufFile.h"

#include "frontends/TensorRanges.h"

#include <cstring>
#include <set>

using namespace fusebox;

namespace {

constexpr uint32_t magic = 0x46554747; // "GGUF"
constexpr uint32_t supportedVersion = 3;
constexpr uint64_t defaultAlignment = 32;
constexpr int64_t maxAlignment = 1 << 20;
constexpr uint64_t maxKeyBytes = 65535;
constexpr int maxArrayDepth = 4;
/// Far more than any model has: what bounds memory for a file that is huge itself.
constexpr uint64_t maxEntries = 1 << 16, maxTensors = 1 << 20, maxArrayItems = 1 << 24;
/// Bytes of the shortest possible metadata entry (key length, type, one byte) and tensor entry (name length,
/// rank, one extent, type, offset): what bounds a believable count.
constexpr uint64_t minEntryBytes = 8 + 4 + 1;
constexpr uint64_t minTensorBytes = 8 + 4 + 4 + 8;

/// ggml's type numbers.
std::optional<DType> ggmlType(uint32_t number) {
  switch (number) {
  case 0:
    return DType::F32;
  case 1:
    return DType::F16;
  case 2:
    return DType::Q4_0;
  case 3:
    return DType::Q4_1;
  case 6:
    return DType::Q5_0;
  case 7:
    return DType::Q5_1;
  case 8:
    return DType::Q8_0;
  case 12:
    return DType::Q4_K;
  case 13:
    return DType::Q5_K;
  case 14:
    return DType::Q6_K;
  case 24:
    return DType::I8;
  case 25:
    return DType::I16;
  case 26:
    return DType::I32;
  case 27:
    return DType::I64;
  case 28:
    return DType::F64;
  case 30:
    return DType::BF16;
  default:
    return std::nullopt;
  }
}

/// Bytes of a number or Bool; 0 for strings, arrays and unknown types.
uint64_t numberBytes(GgufType type) {
  switch (type) {
  case GgufType::U8:
  case GgufType::I8:
  case GgufType::Bool:
    return 1;
  case GgufType::U16:
  case GgufType::I16:
    return 2;
  case GgufType::U32:
  case GgufType::I32:
  case GgufType::F32:
    return 4;
  case GgufType::U64:
  case GgufType::I64:
  case GgufType::F64:
    return 8;
  case GgufType::String:
  case GgufType::Array:
    return 0;
  }
  return 0;
}

template <typename T> T load(const std::byte *bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

/// A number at `bytes`, widened.
GgufValue widenNumber(GgufType type, const std::byte *bytes) {
  switch (type) {
  case GgufType::U8:
    return uint64_t(load<uint8_t>(bytes));
  case GgufType::I8:
    return int64_t(load<int8_t>(bytes));
  case GgufType::U16:
    return uint64_t(load<uint16_t>(bytes));
  case GgufType::I16:
    return int64_t(load<int16_t>(bytes));
  case GgufType::U32:
    return uint64_t(load<uint32_t>(bytes));
  case GgufType::I32:
    return int64_t(load<int32_t>(bytes));
  case GgufType::F32:
    return double(load<float>(bytes));
  case GgufType::Bool:
    return load<uint8_t>(bytes) != 0;
  case GgufType::U64:
    return load<uint64_t>(bytes);
  case GgufType::I64:
    return load<int64_t>(bytes);
  case GgufType::F64:
    return load<double>(bytes);
  case GgufType::String:
  case GgufType::Array:
    break;
  }
  return uint64_t(0);
}

/// Walks the header; every read checks that the bytes are there.
class Parser {
public:
  Parser(std::span<const std::byte> bytes, const std::string &name) : bytes(bytes), name(name) {}

  Result<GgufHeader> parse();

private:
  Error fail(const std::string &what) const { return modelError(name + ": " + what); }
  Error truncated() const { return fail("ends inside its header; it is truncated, fetch it again"); }
  uint64_t left() const { return bytes.size() - at; }

  template <typename T> Result<T> number() {
    if (left() < sizeof(T))
      return truncated();
    T value = load<T>(bytes.data() + at);
    at += sizeof(T);
    return value;
  }
  Result<std::string_view> string();
  Result<GgufType> type();
  Result<GgufValue> value(GgufType type);
  Result<GgufArray> array(int depth);
  Result<void> entry(GgufMetadata &metadata);
  Result<StoredTensor> tensor();
  Result<void> checkVersion();
  Result<GgufHeader> readDirectory();
  Result<void> placeTensors(GgufHeader &header);

  std::span<const std::byte> bytes;
  const std::string &name;
  uint64_t at = 0;
};

Result<std::string_view> Parser::string() {
  FUSEBOX_ASSIGN(uint64_t length, number<uint64_t>());
  if (length > left())
    return truncated();
  std::string_view text(reinterpret_cast<const char *>(bytes.data()) + at, length);
  at += length;
  return text;
}

Result<GgufType> Parser::type() {
  FUSEBOX_ASSIGN(uint32_t number, this->number<uint32_t>());
  if (number > uint32_t(GgufType::F64))
    return fail("has a metadata value of the unknown type " + std::to_string(number) +
                "; it is damaged or newer than this Fusebox");
  return GgufType(number);
}

Result<GgufArray> Parser::array(int depth) {
  GgufArray result;
  FUSEBOX_ASSIGN(result.elementType, type());
  FUSEBOX_ASSIGN(result.count, number<uint64_t>());
  if (uint64_t size = numberBytes(result.elementType)) {
    if (result.count > left() / size)
      return truncated();
    result.numbers = bytes.subspan(at, result.count * size);
    at += result.numbers.size();
    return result;
  }
  // A string takes at least its length's 8 bytes, an array its type's 4 and its count's 8.
  if (result.count > left() / 8)
    return truncated();
  if (result.count > maxArrayItems)
    return fail("has a metadata array of " + std::to_string(result.count) + " items; it is damaged");
  if (result.elementType == GgufType::Array && depth == maxArrayDepth)
    return fail("has metadata arrays nested deeper than " + std::to_string(maxArrayDepth) + " levels");
  for (uint64_t i = 0; i < result.count; ++i) {
    if (result.elementType == GgufType::String) {
      FUSEBOX_ASSIGN(std::string_view text, string());
      result.strings.push_back(text);
    } else {
      FUSEBOX_ASSIGN(GgufArray inner, array(depth + 1));
      result.arrays.push_back(std::move(inner));
    }
  }
  return result;
}

Result<GgufValue> Parser::value(GgufType type) {
  if (type == GgufType::String) {
    FUSEBOX_ASSIGN(std::string_view text, string());
    return GgufValue(text);
  }
  if (type == GgufType::Array) {
    FUSEBOX_ASSIGN(GgufArray items, array(1));
    return GgufValue(std::move(items));
  }
  uint64_t size = numberBytes(type);
  if (left() < size)
    return truncated();
  at += size;
  return widenNumber(type, bytes.data() + at - size);
}

Result<void> Parser::entry(GgufMetadata &metadata) {
  FUSEBOX_ASSIGN(std::string_view key, string());
  if (key.empty() || key.size() > maxKeyBytes)
    return fail("has a metadata key of " + std::to_string(key.size()) +
                " bytes; it is damaged, fetch it again");
  FUSEBOX_ASSIGN(GgufType kind, type());
  FUSEBOX_ASSIGN(GgufValue content, value(kind));
  if (!metadata.values.emplace(key, std::move(content)).second)
    return fail("has the metadata key '" + std::string(key) + "' twice; it is damaged, fetch it again");
  return {};
}

/// Reads a directory entry; its offset still counts from the start of the data.
Result<StoredTensor> Parser::tensor() {
  StoredTensor result;
  FUSEBOX_ASSIGN(std::string_view tensorName, string());
  result.name = tensorName;
  FUSEBOX_ASSIGN(uint32_t rank, number<uint32_t>());
  if (rank > maxTensorRank)
    return fail("tensor '" + result.name + "' has " + std::to_string(rank) + " dimensions; it is damaged");
  result.shape.resize(rank);
  for (uint32_t axis = rank; axis-- > 0;) {
    FUSEBOX_ASSIGN(uint64_t extent, number<uint64_t>());
    if (extent > uint64_t(INT64_MAX))
      return fail("tensor '" + result.name + "' has a dimension that is not a size; it is damaged");
    result.shape[axis] = int64_t(extent);
  }
  FUSEBOX_ASSIGN(uint32_t typeNumber, number<uint32_t>());
  std::optional<DType> type = ggmlType(typeNumber);
  if (!type)
    return fail("tensor '" + result.name + "' has the ggml type " + std::to_string(typeNumber) +
                "; F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K and Q6_K can be read: use a file "
                "quantised so");
  result.dtype = *type;
  FUSEBOX_ASSIGN(result.offset, number<uint64_t>());
  std::optional<uint64_t> size = storedBytes(result.dtype, result.shape);
  if (!size)
    return fail("tensor '" + result.name + "' has a shape that its type can't have; it is damaged");
  result.bytes = *size;
  return result;
}

Result<void> Parser::checkVersion() {
  FUSEBOX_ASSIGN(uint32_t first, number<uint32_t>());
  if (first != magic)
    return fail("is not a GGUF file");
  FUSEBOX_ASSIGN(uint32_t version, number<uint32_t>());
  if (version == __builtin_bswap32(supportedVersion))
    return fail("is a big-endian GGUF file; only little-endian ones can be read");
  if (version != supportedVersion)
    return fail("is GGUF version " + std::to_string(version) + "; version 3 can be read: convert it anew");
  return {};
}

/// Metadata and tensor directory; tensors' offsets still count from the start of the data.
Result<GgufHeader> Parser::readDirectory() {
  FUSEBOX_ASSIGN(uint64_t tensorCount, number<uint64_t>());
  FUSEBOX_ASSIGN(uint64_t entryCount, number<uint64_t>());
  if (entryCount > left() / minEntryBytes || tensorCount > left() / minTensorBytes)
    return truncated();
  if (entryCount > maxEntries || tensorCount > maxTensors)
    return fail("has " + std::to_string(entryCount) + " metadata entries and " + std::to_string(tensorCount) +
                " tensors; it is damaged");
  GgufHeader header;
  for (uint64_t i = 0; i < entryCount; ++i)
    FUSEBOX_TRY(entry(header.metadata));
  for (uint64_t i = 0; i < tensorCount; ++i) {
    FUSEBOX_ASSIGN(StoredTensor stored, tensor());
    header.tensors.push_back(std::move(stored));
  }
  std::set<std::string_view> names;
  for (const StoredTensor &stored : header.tensors) {
    if (!names.insert(stored.name).second)
      return fail("has the tensor '" + stored.name + "' twice; it is damaged, fetch it again");
  }
  return header;
}

/// Turns offsets into places in the file, and checks them.
Result<void> Parser::placeTensors(GgufHeader &header) {
  uint64_t alignment = defaultAlignment;
  if (header.metadata.find("general.alignment")) {
    std::optional<int64_t> given = header.metadata.asInteger("general.alignment");
    if (!given || *given < 1 || *given > maxAlignment || (*given & (*given - 1)) != 0)
      return fail("has a general.alignment that is no power of two; it is damaged, fetch it again");
    alignment = uint64_t(*given);
  }
  uint64_t dataStart = (at + alignment - 1) / alignment * alignment;
  for (StoredTensor &stored : header.tensors) {
    if (stored.offset % alignment)
      return fail("tensor '" + stored.name + "' is not aligned to " + std::to_string(alignment) +
                  " bytes; it is damaged, fetch it again");
    if (stored.offset > UINT64_MAX - dataStart)
      return fail("tensor '" + stored.name + "' lies outside the file; it is damaged, fetch it again");
    stored.offset += dataStart;
  }
  if (header.tensors.empty())
    return {};
  return checkTensorRanges(header.tensors, {dataStart, bytes.size()}, /*gapsAllowed=*/true, name);
}

Result<GgufHeader> Parser::parse() {
  FUSEBOX_TRY(checkVersion());
  FUSEBOX_ASSIGN(GgufHeader header, readDirectory());
  FUSEBOX_TRY(placeTensors(header));
  return header;
}

} // namespace

Result<GgufHeader> fusebox::parseGguf(std::span<const std::byte> bytes, const std::string &name) {
  return Parser(bytes, name).parse();
}
