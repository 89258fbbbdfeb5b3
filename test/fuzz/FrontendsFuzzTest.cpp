// Damaged model files end in a clean error or a correct result, with memory in proportion to the file.
#include "frontends/CheckParameters.h"
#include "frontends/ReadSpec.h"
#include "frontends/families/Family.h"
#include "frontends/gguf/GgufTokenizer.h"
#include "frontends/json/ReadJson.h"
#include "frontends/safetensors/SafetensorsHeader.h"
#include "support/Dequantise.h"
#include "test/fuzz/AllocationMeter.h"
#include "test/fuzz/MutationFuzzer.h"
#include "test/unit/frontends/TestFiles.h"

#include <gtest/gtest.h>

using namespace fusebox;
using namespace fusebox::fuzz;
using namespace fusebox::test;

namespace {

/// What a reader may use: a constant, and for each byte of the file some tens ("{}," becomes a JSON value of
/// 100).
uint64_t memoryLimit(size_t fileBytes) { return (1 << 20) + 64 * uint64_t(fileBytes); }

/// Reads the first and last byte of a range, for the sanitizers to see.
void touch(std::span<const std::byte> bytes) {
  if (!bytes.empty()) {
    volatile std::byte first = bytes.front(), last = bytes.back();
    (void)first, (void)last;
  }
}

const FamilyTable &families() {
  static FamilyTable table = std::move(*FamilyTable::load(""));
  return table;
}

const std::vector<std::string> golden = {"llama", "llama-tied", "llama31-rope", "qwen3", "ernie4_5"};

std::vector<Bytes> goldenFiles(const std::string &name) {
  std::vector<Bytes> files;
  for (const std::string &model : golden)
    files.push_back(bytesOf(readText(FUSEBOX_TEST_DATA "/golden/" + model + "/" + name)));
  return files;
}

void expectModelError(const Error &error) {
  ASSERT_EQ(error.kind, ErrorKind::Model) << error.message;
  ASSERT_FALSE(error.message.empty());
}

TEST(FuzzSafetensors, EndsInAnErrorOrInTensorsInsideTheFile) {
  std::vector<Bytes> seeds = {
      bytesOf(safetensors(tinyLlamaTensors())),
      bytesOf(safetensors(
          R"({"__metadata__":{"format":"pt"},"e":{"dtype":"I64","shape":[0,7],"data_offsets":[0,0]}})", 0))};
  Options options;
  options.dictionary = {
      "\"dtype\":", "\"shape\":",           "\"data_offsets\":",   "BF16",  "F64",     "[",    "]", "{", "}",
      "-1",         "18446744073709551615", "9223372036854775807", "1e300", "\\u0000", "null", ",", "0"};
  uint64_t accepted = 0;
  fuzzMutations(
      seeds,
      [&](std::span<const std::byte> input) {
        uint64_t peak = peakOf([&] {
          Result<std::vector<StoredTensor>> tensors = parseSafetensors(input, "fuzz");
          if (!tensors)
            return expectModelError(tensors.error());
          ++accepted;
          for (const StoredTensor &tensor : *tensors)
            touch(input.subspan(tensor.offset, tensor.bytes));
        });
        ASSERT_LE(peak, memoryLimit(input.size()));
      },
      options);
  EXPECT_GT(accepted, 0u) << "not everything is refused";
}

TEST(FuzzSafetensorsIndex, EndsInAnErrorOrInPlainNames) {
  std::vector<Bytes> seeds = {bytesOf(
      R"({"metadata":{"total_size":12},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}})")};
  Options options;
  options.dictionary = {"\"weight_map\":", "../", "/", "\\u0000", "\"\"", "{}", "[]", "null"};
  fuzzMutations(
      seeds,
      [&](std::span<const std::byte> input) {
        uint64_t peak = peakOf([&] {
          auto shards = parseSafetensorsIndex(input, "fuzz");
          if (!shards)
            return expectModelError(shards.error());
          for (const auto &[tensor, file] : *shards)
            ASSERT_TRUE(file.find('/') == std::string::npos && file != "..");
        });
        ASSERT_LE(peak, memoryLimit(input.size()));
      },
      options);
}

/// Whether `config` is accepted; then what import relies on must hold.
bool describesAModel(const nlohmann::json &config) {
  Result<SpecWithFamily> described = specFromConfig(config, families(), "fuzz");
  if (!described) {
    expectModelError(described.error());
    return false;
  }
  const ModelSpec &spec = described->spec;
  EXPECT_TRUE(spec.hidden > 0 && spec.layers > 0 && spec.headDim % 2 == 0 && spec.heads % spec.kvHeads == 0);
  EXPECT_TRUE(spec.rope.rotaryDim > 0 && spec.rope.rotaryDim <= spec.headDim && spec.attention.scale > 0);
  for (const ParamSpec &parameter : spec.parameters) {
    for (int64_t extent : parameter.shape)
      EXPECT_GT(extent, 0) << parameter.role;
  }
  return true;
}

TEST(FuzzConfig, EndsInAnErrorOrInADescriptionThatHolds) {
  std::vector<Bytes> seeds = goldenFiles("config.json");
  Options options;
  options.dictionary = {"null",
                        "true",
                        "false",
                        "-1",
                        "0",
                        "1e308",
                        "1e-320",
                        "9223372036854775807",
                        "\"llama3\"",
                        "\"linear\"",
                        "\"factor\": 8",
                        "\"rope_scaling\": {",
                        "\"head_dim\": ",
                        "\"num_hidden_layers\": ",
                        "[",
                        "{",
                        "}",
                        "]",
                        "\"",
                        ",",
                        "_"};
  families();
  uint64_t accepted = 0;
  fuzzMutations(
      seeds,
      [&](std::span<const std::byte> input) {
        uint64_t peak = peakOf([&] {
          Result<nlohmann::json> config = readJson(input, "fuzz");
          if (!config)
            return expectModelError(config.error());
          accepted += describesAModel(*config);
        });
        ASSERT_LE(peak, memoryLimit(input.size()));
      },
      options);
  EXPECT_GT(accepted, 0u);
}

TEST(FuzzConfig, WithOtherValuesEndsInAnErrorOrInADescriptionThatHolds) {
  const nlohmann::json values = {nullptr,
                                 true,
                                 false,
                                 0,
                                 1,
                                 2,
                                 3,
                                 64,
                                 -1,
                                 1e308,
                                 0.5,
                                 INT64_MIN,
                                 UINT64_MAX,
                                 "",
                                 "silu",
                                 "linear",
                                 "llama3",
                                 {2, 3},
                                 nlohmann::json::object(),
                                 {{"rope_type", "linear"}, {"factor", 2}}};
  std::vector<nlohmann::json> seeds;
  for (const Bytes &file : goldenFiles("config.json"))
    seeds.push_back(nlohmann::json::parse(reinterpret_cast<const char *>(file.data()),
                                          reinterpret_cast<const char *>(file.data()) + file.size()));
  uint64_t accepted = 0;
  for (uint64_t n = 0; n < Options().iterations; ++n) {
    Random random(n);
    nlohmann::json config = seeds[random.below(seeds.size())];
    for (uint64_t count = 1 + random.below(3); count > 0; --count) {
      nlohmann::json *object = &config;
      if (random.below(4) == 0 && config["rope_parameters"].is_object() && !config["rope_parameters"].empty())
        object = &config["rope_parameters"];
      auto entry = std::next(object->begin(), ptrdiff_t(random.below(object->size())));
      *entry = values[random.below(values.size())];
    }
    accepted += describesAModel(config);
  }
  EXPECT_GT(accepted, Options().iterations / 100);
}

TEST(FuzzGenerationConfig, EndsInAnErrorOrInIds) {
  std::vector<Bytes> seeds = goldenFiles("generation_config.json");
  Options options;
  options.dictionary = {"[1, 2]", "-1", "null", "1.5", "\"x\"", "99999999999999999999"};
  fuzzMutations(
      seeds,
      [&](std::span<const std::byte> input) {
        Result<nlohmann::json> generation = readJson(input, "fuzz");
        if (!generation)
          return expectModelError(generation.error());
        ModelSpec spec;
        Result<void> added = addGenerationConfig(spec, *generation, "fuzz");
        if (!added)
          expectModelError(added.error());
      },
      options);
}

/// A GGUF with a tensor of every type, so that widening is reached too.
std::string ggufOfAllTypes() {
  GgufBuilder gguf;
  gguf.text("general.architecture", "qwen3").u32("general.alignment", 32).flag("f", true);
  gguf.numbers<float>("scores", 6, {1, 2, 3}).numbers<int32_t>("types", 5, {1, 1, 3});
  std::pair<uint32_t, DType> types[] = {{0, DType::F32},   {1, DType::F16},   {2, DType::Q4_0},
                                        {3, DType::Q4_1},  {6, DType::Q5_0},  {7, DType::Q5_1},
                                        {8, DType::Q8_0},  {12, DType::Q4_K}, {13, DType::Q5_K},
                                        {14, DType::Q6_K}, {30, DType::BF16}};
  for (auto [number, type] : types) {
    BlockSize block = blockSize(type);
    gguf.tensor(std::string(dtypeName(type)), number, {2, block.elements},
                std::string(2 * block.bytes, '\x55'));
  }
  return gguf.build();
}

TEST(FuzzGguf, EndsInAnErrorOrInTensorsInsideTheFile) {
  std::vector<Bytes> seeds = {bytesOf(tinyLlamaGguf().build().substr(0, 4096)),
                              bytesOf(tinyLlamaGguf().build()), bytesOf(ggufOfAllTypes())};
  Options options;
  options.dictionary = {"GGUF",
                        "general.alignment",
                        raw(uint32_t(9)),
                        raw(uint32_t(8)),
                        raw(uint64_t(1) << 62),
                        raw(uint64_t(32)),
                        "llama.block_count",
                        "token_embd.weight"};
  uint64_t accepted = 0;
  std::vector<float> values;
  fuzzMutations(
      seeds,
      [&](std::span<const std::byte> input) {
        uint64_t peak = peakOf([&] {
          Result<GgufHeader> header = parseGguf(input, "fuzz");
          if (!header)
            return expectModelError(header.error());
          ++accepted;
          for (const auto &[key, value] : header->metadata.all()) {
            header->metadata.asIntegers(key);
            header->metadata.asReals(key);
          }
          if (Result<GgufTokenizerData> tokenizer = readGgufTokenizer(header->metadata); !tokenizer)
            expectModelError(tokenizer.error());
          for (const StoredTensor &tensor : header->tensors) {
            std::span<const std::byte> data = input.subspan(tensor.offset, tensor.bytes);
            touch(data);
            values.resize(size_t(tensor.elements()));
            (void)dequantiseRow(tensor.dtype, data, values.size(), values.data());
          }
          values = {};
        });
        ASSERT_LE(peak, memoryLimit(input.size()));
      },
      options);
  EXPECT_GT(accepted, 0u);
}

TEST(FuzzGguf, AsAModelEndsInAnErrorOrInBoundParameters) {
  TemporaryFolder folder(
      "/dev/shm"); // a file for each input: in memory, where a disk would take most of the time
  std::vector<Bytes> seeds = {bytesOf(tinyLlamaGguf().build())};
  Options options;
  options.seed = 2;
  options.dictionary = {"llama.block_count",           "llama.attention.key_length",
                        "blk.0.attn_q.bias",           "output.weight",
                        "rope_freqs.weight",           raw(uint32_t(4)) + raw(uint32_t(0)),
                        raw(uint32_t(6)) + raw(-1.0f), raw(uint32_t(4)) + raw(uint32_t(4096))};
  fuzzMutations(
      seeds,
      [&](std::span<const std::byte> input) {
        std::string path = folder.write(
            "fuzz.gguf", std::string(reinterpret_cast<const char *>(input.data()), input.size()));
        Result<Checkpoint> checkpoint = Checkpoint::open(path);
        if (!checkpoint)
          return expectModelError(checkpoint.error());
        Result<SpecWithFamily> described = specFromGguf(*checkpoint, families(), path);
        if (!described)
          return expectModelError(described.error());
        Result<std::vector<BoundParameter>> bound =
            checkParameters(described->spec, *checkpoint, described->family->ignoredTensors);
        if (!bound)
          return expectModelError(bound.error());
        for (const BoundParameter &parameter : *bound) {
          for (size_t tensor : parameter.tensors)
            touch(checkpoint->data(checkpoint->tensors()[tensor]));
        }
      },
      options);
}

} // namespace
