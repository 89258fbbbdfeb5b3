#include "runtime/plan/Program.h"

#include "runtime/plan/ProgramCheck.h"
#include "runtime/plan/ProgramFields.h"

#include <bit>
#include <cstring>
#include <type_traits>

using namespace fusebox;
using namespace fusebox::plan;

static_assert(std::endian::native == std::endian::little,
              "plans are little-endian; a big-endian port must swap");

namespace {

/// Appends fields: integers at their own width, enumerations as a byte, lists as a u32 count and their
/// elements.
class Encoder {
public:
  std::vector<std::byte> bytes;

  template <typename T> void operator()(const char *, const T &value) { put(value); }

private:
  template <typename T> void put(const T &value) {
    if constexpr (std::is_enum_v<T> || std::is_same_v<T, bool>) {
      putRaw(uint8_t(value));
    } else if constexpr (std::is_integral_v<T>) {
      putRaw(value);
    } else {
      fields(value, *this);
    }
  }
  template <typename T> void put(const std::vector<T> &list) {
    putRaw(uint32_t(list.size()));
    for (const T &element : list)
      put(element);
  }
  void put(const std::vector<std::byte> &data) {
    putRaw(uint64_t(data.size()));
    bytes.insert(bytes.end(), data.begin(), data.end());
  }
  void put(const std::string &text) {
    putRaw(uint32_t(text.size()));
    auto data = std::as_bytes(std::span(text));
    bytes.insert(bytes.end(), data.begin(), data.end());
  }
  template <typename T> void putRaw(T value) {
    auto *data = reinterpret_cast<const std::byte *>(&value);
    bytes.insert(bytes.end(), data, data + sizeof(T));
  }
};

/// Reads the same fields back. After the first failure it reads nothing more; `error` names the field.
/// Memory stays in proportion to the input: a list's elements are made one by one as their bytes are found.
class Decoder {
public:
  explicit Decoder(std::span<const std::byte> bytes) : rest(bytes) {}

  std::string error;
  bool atEnd() const { return rest.empty(); }

  template <typename T> void operator()(const char *name, T &value) {
    if (!error.empty())
      return;
    size_t length = path.size();
    path += path.empty() ? "" : ".";
    path += name;
    get(value);
    path.resize(length);
  }

private:
  std::span<const std::byte> rest;
  std::string path;

  void fail(const std::string &what) {
    if (error.empty())
      error = path + ": " + what;
  }
  template <typename T> bool getRaw(T &value) {
    if (rest.size() < sizeof(T)) {
      fail("the section ends here");
      return false;
    }
    std::memcpy(&value, rest.data(), sizeof(T));
    rest = rest.subspan(sizeof(T));
    return true;
  }
  template <typename T> void get(T &value) {
    if constexpr (std::is_same_v<T, bool>) {
      uint8_t raw = 0;
      if (getRaw(raw) && raw > 1)
        fail("value " + std::to_string(raw) + " is not a boolean");
      value = raw == 1;
    } else if constexpr (std::is_enum_v<T>) {
      getEnum(value);
    } else if constexpr (std::is_integral_v<T>) {
      getRaw(value);
    } else {
      fields(value, *this);
    }
  }
  template <typename T> void getEnum(T &value) {
    uint8_t raw = 0;
    if (!getRaw(raw))
      return;
    bool known = std::is_same_v<T, DType> ? dtypeName(DType(raw)) != "invalid" : raw <= lastValue<T>;
    if (!known)
      return fail("value " + std::to_string(raw) + " is not known");
    value = T(raw);
  }
  template <typename T> void get(std::vector<T> &list) {
    uint32_t count = 0;
    if (!getRaw(count))
      return;
    if (count > rest.size())
      return fail("count " + std::to_string(count) + " does not fit into the section");
    size_t length = path.size();
    for (uint32_t i = 0; i < count && error.empty(); ++i) {
      path += '[' + std::to_string(i) + ']';
      list.emplace_back();
      get(list.back());
      path.resize(length);
    }
  }
  void get(std::vector<std::byte> &data) {
    uint64_t size = 0;
    if (!getRaw(size))
      return;
    if (size > rest.size())
      return fail("size " + std::to_string(size) + " does not fit into the section");
    data.assign(rest.begin(), rest.begin() + ptrdiff_t(size));
    rest = rest.subspan(size);
  }
  void get(std::string &text) {
    uint32_t size = 0;
    if (!getRaw(size))
      return;
    if (size > rest.size())
      return fail("length " + std::to_string(size) + " does not fit into the section");
    text.assign(reinterpret_cast<const char *>(rest.data()), size);
    rest = rest.subspan(size);
  }
};

} // namespace

std::vector<std::byte> plan::encodeProgram(const Program &program) {
  Encoder encoder;
  encoder("program", program);
  return std::move(encoder.bytes);
}

Result<Program> plan::decodeProgram(std::span<const std::byte> bytes) {
  Program program;
  Decoder decoder(bytes);
  decoder("program", program);
  if (!decoder.error.empty())
    return modelError("plan: " + decoder.error + "; the plan is damaged, compile it again");
  if (!decoder.atEnd())
    return modelError(
        "plan: bytes left after the program's last field; the plan is damaged, compile it again");
  FUSEBOX_TRY(checkProgram(program));
  return program;
}

uint64_t plan::bytesReadPerToken(const Program &program) {
  uint64_t bytes = 0;
  for (const Weight &weight : program.weights)
    bytes +=
        weight.gathered ? weight.bytes / uint64_t(weight.shape[0]) : weight.bytes * weight.instances.size();
  return bytes;
}
