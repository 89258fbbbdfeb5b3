#include "test/unit/check/ModelFolder.h"

#include "frontends/Checkpoint.h"
#include "support/Float.h"
#include "support/SafetensorsWriter.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>

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

/// Tensors of one dimension that the golden lacks, by name.
using Vectors = std::map<std::string, std::vector<uint16_t>>;

static void writeWith(const std::string &name, const std::string &folder,
                      const std::map<std::string, test::Edit> &edits, const Vectors &more) {
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
      if (values.empty())
        continue;
      bytes = std::as_bytes(std::span(values));
    }
    tensors.push_back({tensor.name, tensor.dtype, tensor.shape, bytes});
  }
  ASSERT_EQ(changed.size(), edits.size()) << "an edited tensor is missing";
  for (const auto &[tensor, values] : more)
    tensors.push_back({tensor, DType::BF16, {int64_t(values.size())}, std::as_bytes(std::span(values))});
  ASSERT_TRUE(writeSafetensors(folder + "/model.safetensors", tensors));
}

void test::writeModel(const std::string &name, const std::string &folder,
                      const std::map<std::string, Edit> &edits) {
  writeWith(name, folder, edits, {});
}

void test::writeQwen2(const std::string &folder, double largest, const std::map<std::string, Edit> &edits) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> size(-1, 1);
  Vectors biases;
  for (int layer = 0; layer < 3; ++layer)
    for (auto [role, count] : {std::pair("q", 128), std::pair("k", 64), std::pair("v", 64)}) {
      auto &bias = biases["model.layers." + std::to_string(layer) + ".self_attn." + role + "_proj.bias"];
      for (int i = 0; i < count; ++i)
        bias.push_back(f32ToBf16(size(random) * (*role == 'k' && i % 7 == 0 ? float(largest) : 1)));
    }
  writeWith("llama", folder, edits, biases);
  auto config = nlohmann::json::parse(readText(folder + "/config.json"));
  config["model_type"] = "qwen2";
  config["architectures"] = {"Qwen2ForCausalLM"};
  for (const char *key : {"attention_bias", "mlp_bias", "pretraining_tp"})
    config.erase(key);
  std::ofstream(folder + "/config.json") << config.dump(2);
}

std::string test::readText(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
