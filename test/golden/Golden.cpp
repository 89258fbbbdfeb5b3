#include "test/golden/Golden.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace fusebox;
using namespace fusebox::test;

[[noreturn]] static void fail(const std::string &message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  std::abort();
}

static Checkpoint openExpected(const std::string &folder) {
  Result<Checkpoint> file = Checkpoint::open(folder + "/expected.safetensors");
  if (!file)
    fail(file.error().message);
  return std::move(*file);
}

Expected::Expected(const std::string &folder) : file(openExpected(folder)) {}

const StoredTensor &Expected::tensor(const std::string &name) const {
  const StoredTensor *found = file.find(name);
  if (!found)
    fail("expected.safetensors has no " + name);
  return *found;
}

template <typename Stored, typename T> static std::vector<T> widen(std::span<const std::byte> bytes) {
  std::vector<T> values(bytes.size() / sizeof(Stored));
  for (size_t i = 0; i < values.size(); ++i) {
    Stored value;
    std::memcpy(&value, bytes.data() + i * sizeof(Stored), sizeof(Stored));
    values[i] = T(value);
  }
  return values;
}

std::vector<double> Expected::reals(const std::string &name) const {
  const StoredTensor &found = tensor(name);
  return found.dtype == DType::F64 ? widen<double, double>(file.data(found))
                                   : widen<float, double>(file.data(found));
}

std::vector<int32_t> Expected::ids(const std::string &name) const {
  return widen<int64_t, int32_t>(file.data(tensor(name)));
}
