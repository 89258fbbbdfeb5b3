#include "test/unit/check/ModelFolder.h"

#include "frontends/Checkpoint.h"
#include "support/SafetensorsWriter.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>

using namespace fusebox;
namespace fs = std::filesystem;

test::TemporaryFolder::TemporaryFolder() {
  path = (fs::temp_directory_path() / "fusebox-check-XXXXXX").string();
  if (!mkdtemp(path.data()))
    ADD_FAILURE() << "no temporary folder";
  setenv("XDG_CACHE_HOME", (path + "/cache").c_str(), 1);
  setenv("XDG_CONFIG_HOME", (path + "/config").c_str(), 1);
}

test::TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

void test::writeModel(const std::string &name, const std::string &folder,
                      const std::map<std::string, Edit> &edits) {
  fs::path golden = fs::path(FUSEBOX_TEST_DATA) / "golden" / name;
  fs::create_directories(folder);
  for (const char *file : {"config.json", "generation_config.json"})
    fs::copy_file(golden / file, fs::path(folder) / file, fs::copy_options::overwrite_existing);
  auto checkpoint = Checkpoint::open(golden.string());
  ASSERT_TRUE(checkpoint);
  std::map<std::string, std::vector<uint16_t>> changed;
  std::vector<TensorToWrite> tensors;
  for (const StoredTensor &tensor : checkpoint->tensors()) {
    std::span<const std::byte> bytes = checkpoint->data(tensor);
    if (auto edit = edits.find(tensor.name); edit != edits.end()) {
      std::vector<uint16_t> &values = changed[tensor.name];
      values.resize(bytes.size() / 2);
      std::memcpy(values.data(), bytes.data(), bytes.size());
      edit->second(values);
      bytes = std::as_bytes(std::span(values));
    }
    tensors.push_back({tensor.name, tensor.dtype, tensor.shape, bytes});
  }
  ASSERT_EQ(changed.size(), edits.size()) << "an edited tensor is missing";
  ASSERT_TRUE(writeSafetensors(folder + "/model.safetensors", tensors));
}

std::string test::readText(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
