#include "frontends/LoadModel.h"
#include "test/unit/frontends/TestFiles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace fusebox;
using namespace fusebox::test;
using testing::HasSubstr;

namespace {

std::string errorOf(const std::string &model) {
  Result<LoadedModel> loaded = loadModel(model);
  return loaded ? "no error" : loaded.error().message;
}

class GoldenModel : public testing::TestWithParam<const char *> {};

TEST_P(GoldenModel, HasEveryParameterBound) {
  Result<LoadedModel> model = loadModel(std::string(FUSEBOX_TEST_DATA "/golden/") + GetParam());
  ASSERT_TRUE(model) << model.error().message;
  size_t bound = 0;
  for (const BoundParameter &parameter : model->parameters) {
    const ParamSpec &spec = model->spec.parameters[parameter.parameter];
    EXPECT_EQ(parameter.tensors.size(), spec.perLayer ? size_t(model->spec.layers) : 1u) << spec.role;
    bound += parameter.tensors.size();
  }
  EXPECT_EQ(bound, model->checkpoint.tensors().size());
}

INSTANTIATE_TEST_SUITE_P(All, GoldenModel,
                         testing::Values("llama", "llama-tied", "llama31-rope", "qwen3", "qwen3-extreme-k",
                                         "ernie4_5"));

TEST(LoadModel, ReadsFolderFileAndGgufAlike) {
  TemporaryFolder folder;
  folder.write("config.json", tinyLlamaConfig().dump());
  folder.write("generation_config.json", R"({"eos_token_id": [2, 3]})");
  std::string weights = folder.write("model.safetensors", safetensors(tinyLlamaTensors()));
  std::string gguf = folder.write("tiny.gguf", tinyLlamaGguf().build());
  for (const std::string &path : {folder.path(), weights, gguf}) {
    Result<LoadedModel> model = loadModel(path);
    ASSERT_TRUE(model) << model.error().message;
    EXPECT_EQ(model->spec.hidden, 8);
    EXPECT_EQ(model->spec.vocab, 5);
    EXPECT_TRUE(model->spec.tieEmbeddings);
    EXPECT_EQ(model->spec.eosIds.size(), path == gguf ? 1u : 2u);
    ASSERT_NE(model->find("down", 1), nullptr);
    EXPECT_EQ(model->find("down", 1)->shape, (std::vector<int64_t>{8, 12}));
    EXPECT_EQ(model->find("down", 2), nullptr);
    EXPECT_EQ(model->find("lm_head"), nullptr);
    bool isGguf = path == gguf;
    EXPECT_EQ(model->spec.findParameter("q")->recipe, isGguf ? "unpermute-rope" : "identity");
    EXPECT_EQ(model->spec.findParameter("v")->recipe, "identity");
    EXPECT_EQ(model->spec.dtype, isGguf ? DType::F32 : DType::BF16) << "the GGUF is F32 throughout";
  }
}

TEST(LoadModel, ReportsAllTensorsThatDontFitAtOnce) {
  TemporaryFolder folder;
  folder.write("config.json", tinyLlamaConfig().dump());
  auto tensors = tinyLlamaTensors();
  std::erase_if(tensors, [](const auto &tensor) { return tensor.first == "model.norm.weight"; });
  for (auto &[name, shape] : tensors) {
    if (name == "model.layers.1.mlp.up_proj.weight")
      shape = {8, 12};
  }
  tensors.push_back({"model.layers.0.self_attn.q_proj.bias", {8}});
  tensors.push_back({"model.layers.2.input_layernorm.weight", {8}});
  folder.write("model.safetensors", safetensors(tensors));
  std::string message = errorOf(folder.path());
  EXPECT_THAT(message, HasSubstr("4 tensors do not fit"));
  EXPECT_THAT(message, HasSubstr("'model.norm.weight' [8] is missing"));
  EXPECT_THAT(message,
              HasSubstr("'model.layers.1.mlp.up_proj.weight' has the shape [8, 12], [12, 8] was expected"));
  EXPECT_THAT(message, HasSubstr("'model.layers.0.self_attn.q_proj.bias' [8] is unknown"));
  EXPECT_THAT(message, HasSubstr("'model.layers.2.input_layernorm.weight' [8] is unknown"));
}

TEST(LoadModel, LetsUnusedCopiesBe) {
  TemporaryFolder folder;
  folder.write("config.json", tinyLlamaConfig().dump());
  auto tensors = tinyLlamaTensors();
  tensors.push_back({"lm_head.weight", {5, 8}});
  tensors.push_back({"model.layers.1.self_attn.rotary_emb.inv_freq", {2}});
  folder.write("model.safetensors", safetensors(tensors));
  EXPECT_EQ(errorOf(folder.path()), "no error");
}

TEST(LoadModel, RefusesTypesThatParametersCantHave) {
  TemporaryFolder folder;
  folder.write("config.json", tinyLlamaConfig().dump());
  std::string file = safetensors(tinyLlamaTensors());
  size_t type = file.find("BF16\"");
  folder.write("model.safetensors", file.replace(type, 5, "I16\" "));
  EXPECT_THAT(errorOf(folder.path()), HasSubstr("has the type i16, f32, f16 or bf16"));
  std::string gguf = folder.write(
      "block-vector.gguf", tinyLlamaGguf().tensor("blk.0.attn_q.bias", 2, {32}, std::string(18, 0)).build());
  EXPECT_THAT(errorOf(gguf), HasSubstr("blk.0.attn_q.bias"));
}

TEST(LoadModel, NamesTheFileThatIsMissing) {
  TemporaryFolder folder;
  EXPECT_THAT(errorOf(folder.path()), HasSubstr("config.json"));
  folder.write("config.json", tinyLlamaConfig().dump());
  EXPECT_THAT(errorOf(folder.path()), HasSubstr("model.safetensors"));
  EXPECT_TRUE(readModelSpec(folder.path())) << "a description needs no weights";
}

TEST(Gguf, StatesBiasesHeadAndFrequencyFactorsByItsTensors) {
  TemporaryFolder folder;
  GgufBuilder gguf = tinyLlamaGguf();
  gguf.zeros("output.weight", {5, 8}).tensor("rope_freqs.weight", 0, {2}, raw(1.0f) + raw(8.0f));
  for (int layer = 0; layer < 2; ++layer) {
    std::string block = "blk." + std::to_string(layer) + ".attn_";
    gguf.zeros(block + "q.bias", {8}).zeros(block + "k.bias", {4}).zeros(block + "v.bias", {4});
  }
  Result<LoadedModel> model = loadModel(folder.write("m.gguf", gguf.build()));
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_FALSE(model->spec.tieEmbeddings);
  EXPECT_TRUE(model->spec.attention.qkvBias);
  EXPECT_FALSE(model->spec.attention.outputBias);
  EXPECT_EQ(model->spec.rope.frequencyFactors, (std::vector<float>{1, 8}));
  EXPECT_EQ(model->spec.findParameter("k_bias")->recipe, "unpermute-rope");
  EXPECT_NE(model->find("lm_head"), nullptr);
}

TEST(Gguf, RefusesMetadataThatWouldChangeTheMathematics) {
  TemporaryFolder folder;
  auto errorWith = [&](auto change) {
    GgufBuilder gguf = tinyLlamaGguf();
    change(gguf);
    return errorOf(folder.write("m.gguf", gguf.build()));
  };
  EXPECT_THAT(errorWith([](GgufBuilder &g) { g.u32("llama.expert_count", 8); }),
              HasSubstr("'expert_count' has the value 8"));
  EXPECT_THAT(errorWith([](GgufBuilder &g) { g.f32("llama.attention.clamp_kqv", 8); }),
              HasSubstr("attention.clamp_kqv"));
  EXPECT_THAT(errorWith([](GgufBuilder &g) { g.text("llama.rope.scaling.type", "yarn"); }),
              HasSubstr("\"yarn\""));
  EXPECT_THAT(errorWith([](GgufBuilder &g) { g.u32("llama.attention.value_length", 2); }),
              HasSubstr("head size"));
  EXPECT_THAT(errorWith([](GgufBuilder &g) { g.u32("split.count", 3); }), HasSubstr("split.count"));
  EXPECT_THAT(errorWith([](GgufBuilder &g) { g.zeros("rope_freqs.weight", {2}); }), HasSubstr("not above 0"));
  EXPECT_THAT(errorWith([](GgufBuilder &g) { g.text("general.type", "adapter"); }),
              HasSubstr("general.type"));
  EXPECT_EQ(errorWith([](GgufBuilder &g) { g.text("somebody.note", "x").u32("general.file_type", 3); }),
            "no error");
  EXPECT_EQ(errorWith([](GgufBuilder &g) { g.u32("llama.expert_count", 0).u32("llama.vocab_size", 5); }),
            "no error");
  EXPECT_THAT(errorOf(folder.write("n.gguf", GgufBuilder().text("general.architecture", "mamba").build())),
              HasSubstr("'mamba'; known are "));
}

TEST(LoadModel, ReadsQwen2OfBothKinds) {
  TemporaryFolder folder;
  nlohmann::json config = tinyLlamaConfig();
  config["model_type"] = "qwen2";
  config["architectures"] = {"Qwen2ForCausalLM"};
  folder.write("config.json", config.dump());
  auto tensors = tinyLlamaTensors();
  GgufBuilder gguf = tinyLlamaGguf("qwen2");
  for (int layer = 0; layer < 2; ++layer) {
    std::string index = std::to_string(layer);
    for (auto [name, size] : {std::pair<std::string, int64_t>{"q", 8}, {"k", 4}, {"v", 4}}) {
      tensors.push_back({"model.layers." + index + ".self_attn." + name + "_proj.bias", {size}});
      gguf.zeros("blk." + index + ".attn_" + name + ".bias", {size});
    }
  }
  folder.write("model.safetensors", safetensors(tensors));
  for (const std::string &path : {folder.path(), folder.write("m.gguf", gguf.build())}) {
    Result<LoadedModel> model = loadModel(path);
    ASSERT_TRUE(model) << model.error().message;
    EXPECT_TRUE(model->spec.attention.qkvBias);
    EXPECT_EQ(model->spec.findParameter("q")->recipe, "identity") << "llama.cpp turns qwen2 half-split too";
    EXPECT_NE(model->find("k_bias", 1), nullptr);
  }
}

} // namespace
