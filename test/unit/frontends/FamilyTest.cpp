#include "frontends/families/Family.h"
#include "frontends/LoadModel.h"
#include "frontends/ReadSpec.h"
#include "test/unit/frontends/TestFiles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace fusebox;
using namespace fusebox::test;
using nlohmann::json;
using testing::HasSubstr;

namespace {

const FamilyTable &families() {
  static FamilyTable table = [] {
    Result<FamilyTable> loaded = FamilyTable::load("");
    EXPECT_TRUE(loaded) << loaded.error().message;
    return std::move(*loaded);
  }();
  return table;
}

Result<ModelSpec> read(const json &config) {
  Result<SpecWithFamily> result = specFromConfig(config, families(), "config.json");
  if (!result)
    return result.error();
  return result->spec;
}

std::string errorOf(const json &config) {
  Result<ModelSpec> spec = read(config);
  if (spec)
    return "no error";
  EXPECT_EQ(spec.error().kind, ErrorKind::Model);
  EXPECT_THAT(spec.error().message, HasSubstr("config.json"));
  return spec.error().message;
}

json with(const std::string &key, json value) {
  json config = tinyLlamaConfig();
  config[key] = std::move(value);
  return config;
}

TEST(Config, DescribesLlama) {
  Result<ModelSpec> spec = read(tinyLlamaConfig());
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_EQ(spec->family, "llama");
  EXPECT_EQ(spec->headDim, 4) << "derived";
  EXPECT_EQ(spec->rope.rotaryDim, 4);
  EXPECT_EQ(spec->rope.style, RopeStyle::HalfSplit);
  EXPECT_EQ(spec->rope.rounding, RopeRounding::Products);
  EXPECT_DOUBLE_EQ(spec->attention.scale, 0.5);
  EXPECT_EQ(spec->dtype, DType::BF16);
  EXPECT_EQ(spec->bosId, 1);
  EXPECT_EQ(spec->eosIds, std::vector<int64_t>{2});
  EXPECT_EQ(spec->findParameter("lm_head"), nullptr) << "tied";
  EXPECT_EQ(spec->findParameter("q_bias"), nullptr);
  ASSERT_NE(spec->findParameter("k"), nullptr);
  EXPECT_EQ(spec->findParameter("k")->shape, (std::vector<int64_t>{4, 8}));
  EXPECT_EQ(spec->findParameter("k")->nameAt(1), "model.layers.1.self_attn.k_proj.weight");
}

TEST(Config, TakesHeadSizeAndKvHeadsFromKeysOrDerivesThem) {
  EXPECT_EQ(read(with("head_dim", 16))->headDim, 16);
  EXPECT_EQ(read(with("head_dim", nullptr))->headDim, 4);
  EXPECT_EQ(read(with("num_key_value_heads", nullptr))->kvHeads, 2);
  EXPECT_EQ(read(with("head_dim", 16))->findParameter("o")->shape, (std::vector<int64_t>{8, 32}));
}

TEST(Config, AddsBiasesAndAHeadWhereTheKeysSaySo) {
  json config = with("attention_bias", true);
  config["mlp_bias"] = true;
  config["tie_word_embeddings"] = false;
  Result<ModelSpec> spec = read(config);
  ASSERT_TRUE(spec) << spec.error().message;
  for (const char *role :
       {"q_bias", "k_bias", "v_bias", "o_bias", "gate_bias", "up_bias", "down_bias", "lm_head"})
    EXPECT_NE(spec->findParameter(role), nullptr) << role;
}

TEST(Config, ReadsRopeOfOldAndNewKeysAlike) {
  json old = with("rope_theta", 5e5);
  old["rope_scaling"] = {{"type", "llama3"},
                         {"factor", 8.0},
                         {"low_freq_factor", 1.0},
                         {"high_freq_factor", 4.0},
                         {"original_max_position_embeddings", 32}};
  json renewed = tinyLlamaConfig();
  renewed.erase("rope_theta");
  renewed["rope_parameters"] = {{"rope_type", "llama3"}, {"rope_theta", 500000},
                                {"factor", 8},           {"low_freq_factor", 1},
                                {"high_freq_factor", 4}, {"original_max_position_embeddings", 32}};
  for (const json &config : {old, renewed}) {
    Result<ModelSpec> spec = read(config);
    ASSERT_TRUE(spec) << spec.error().message;
    EXPECT_EQ(spec->rope.scaling, RopeScaling::Llama3);
    EXPECT_EQ(spec->rope.theta, 500000);
    EXPECT_EQ(spec->rope.factor, 8);
    EXPECT_EQ(spec->rope.highFreqFactor, 4);
    EXPECT_EQ(spec->rope.originalMaxPosition, 32);
  }
  EXPECT_EQ(read(with("rope_scaling", {{"rope_type", "linear"}, {"factor", 2}}))->rope.scaling,
            RopeScaling::Linear);
  EXPECT_EQ(read(with("rope_scaling", nullptr))->rope.scaling, RopeScaling::None);
}

TEST(Config, ReadsSeveralEndIdsAndGenerationConfigDecides) {
  Result<ModelSpec> spec = read(with("eos_token_id", {2, 4}));
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_EQ(spec->eosIds, (std::vector<int64_t>{2, 4}));
  ASSERT_TRUE(addGenerationConfig(*spec, {{"eos_token_id", {3, 1}}}, "generation_config.json"));
  EXPECT_EQ(spec->eosIds, (std::vector<int64_t>{3, 1}));
  ASSERT_TRUE(addGenerationConfig(*spec, {{"temperature", 0.5}}, "generation_config.json"));
  EXPECT_EQ(spec->eosIds, (std::vector<int64_t>{3, 1}));
  EXPECT_FALSE(addGenerationConfig(*spec, {{"eos_token_id", "x"}}, "generation_config.json"));
}

TEST(Config, RefusesWhatWouldChangeTheMathematics) {
  EXPECT_THAT(errorOf(with("embedding_multiplier", 12.0)),
              HasSubstr("'embedding_multiplier' (12.0) is unknown to the family 'llama'"));
  EXPECT_THAT(errorOf(with("quantization_config", {{"bits", 4}})), HasSubstr("quantization_config"));
  EXPECT_THAT(errorOf(with("hidden_act", "relu2")),
              HasSubstr("supports gelu, gelu_pytorch_tanh, silu, swish"));
  EXPECT_THAT(errorOf(with("rope_scaling", {{"rope_type", "yarn"}, {"factor", 4}})),
              HasSubstr("'rope_scaling.rope_type' has the value \"yarn\""));
  EXPECT_THAT(errorOf(with("rope_scaling", {{"rope_type", "linear"}, {"factor", 4}, {"beta_fast", 32}})),
              HasSubstr("rope_scaling.beta_fast"));
  EXPECT_THAT(errorOf(with("partial_rotary_factor", 0.5)), HasSubstr("partial_rotary_factor"));
  EXPECT_THAT(errorOf(with("layer_types", {"full_attention", "sliding_attention"})),
              HasSubstr("sliding_attention"));
  EXPECT_THAT(errorOf(with("architectures", {"LlamaForSequenceClassification"})),
              HasSubstr("LlamaForCausalLM"));
  EXPECT_THAT(errorOf(with("model_type", "mamba")), HasSubstr("'mamba'; known are "));
}

TEST(Config, TakesNullAsAbsent) {
  EXPECT_EQ(errorOf(with("quantization_config", nullptr)), "no error");
  EXPECT_EQ(errorOf(with("rope_scaling", nullptr)), "no error");
  EXPECT_THAT(errorOf(with("hidden_size", nullptr)), HasSubstr("lacks the key 'hidden_size'"));
}

TEST(Config, RefusesValuesThatCantBe) {
  EXPECT_THAT(errorOf(with("hidden_size", 0)), HasSubstr("'hidden_size' must be an integer from 1"));
  EXPECT_THAT(errorOf(with("hidden_size", "8")), HasSubstr("'hidden_size' must be"));
  EXPECT_THAT(errorOf(with("num_hidden_layers", 1000000000)), HasSubstr("'num_hidden_layers' must be"));
  EXPECT_THAT(errorOf(with("rms_norm_eps", -1)), HasSubstr("'rms_norm_eps' must be a number above 0"));
  EXPECT_THAT(errorOf(with("tie_word_embeddings", 1)), HasSubstr("true or false"));
  EXPECT_THAT(errorOf(with("eos_token_id", {2, "x"})), HasSubstr("a token id or a list"));
  EXPECT_THAT(errorOf(with("num_attention_heads", 3)), HasSubstr("'head_dim'"));
  EXPECT_THAT(errorOf(with("head_dim", 5)), HasSubstr("odd"));
  EXPECT_THAT(errorOf(with("num_key_value_heads", 3)), HasSubstr("evenly"));
  EXPECT_THAT(errorOf(with("rope_parameters", {{"rope_theta", 1.0}})), HasSubstr("contradict"));
  EXPECT_THAT(errorOf(with("rope_scaling", {{"rope_type", "llama3"}, {"factor", 8}})),
              HasSubstr("lacks the key"));
  EXPECT_THAT(errorOf(with("rope_scaling", 8)), HasSubstr("an object was expected"));
  json incomplete = tinyLlamaConfig();
  incomplete.erase("vocab_size");
  EXPECT_THAT(errorOf(incomplete), HasSubstr("lacks the key 'vocab_size'"));
  EXPECT_THAT(errorOf(json::array()), HasSubstr("model_type"));
}

TEST(Config, KnowsWhatSetsFamiliesApart) {
  Result<ModelSpec> qwen3 = readModelSpec(FUSEBOX_TEST_DATA "/golden/qwen3");
  ASSERT_TRUE(qwen3) << qwen3.error().message;
  EXPECT_EQ(qwen3->qkNorm, QkNorm::PerHead);
  EXPECT_EQ(qwen3->findParameter("k_norm")->shape, std::vector<int64_t>{64});
  Result<ModelSpec> ernie = readModelSpec(FUSEBOX_TEST_DATA "/golden/ernie4_5");
  ASSERT_TRUE(ernie) << ernie.error().message;
  EXPECT_EQ(ernie->rope.style, RopeStyle::Interleaved);
  EXPECT_EQ(ernie->rope.rounding, RopeRounding::SumOnly);
  EXPECT_EQ(ernie->rope.theta, 500000);
}

TEST(Config, ReadsQwen2AsPublished) {
  // Qwen2.5-0.5B-Instruct
  json config = {{"architectures", {"Qwen2ForCausalLM"}},
                 {"attention_dropout", 0.0},
                 {"bos_token_id", 151643},
                 {"eos_token_id", 151645},
                 {"hidden_act", "silu"},
                 {"hidden_size", 896},
                 {"initializer_range", 0.02},
                 {"intermediate_size", 4864},
                 {"max_position_embeddings", 32768},
                 {"max_window_layers", 21},
                 {"model_type", "qwen2"},
                 {"num_attention_heads", 14},
                 {"num_hidden_layers", 24},
                 {"num_key_value_heads", 2},
                 {"rms_norm_eps", 1e-6},
                 {"rope_theta", 1000000.0},
                 {"sliding_window", 32768},
                 {"tie_word_embeddings", true},
                 {"torch_dtype", "bfloat16"},
                 {"transformers_version", "4.43.1"},
                 {"use_cache", true},
                 {"use_sliding_window", false},
                 {"vocab_size", 151936}};
  Result<ModelSpec> spec = read(config);
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_TRUE(spec->attention.qkvBias);
  EXPECT_FALSE(spec->attention.outputBias);
  EXPECT_EQ(spec->headDim, 64);
  EXPECT_EQ(spec->rope.theta, 1000000);
  EXPECT_EQ(spec->rope.style, RopeStyle::HalfSplit);
  EXPECT_EQ(spec->attention.slidingWindow, std::nullopt);
  ASSERT_NE(spec->findParameter("v_bias"), nullptr);
  EXPECT_EQ(spec->findParameter("v_bias")->shape, std::vector<int64_t>{128});
  EXPECT_EQ(spec->findParameter("o_bias"), nullptr);
  config["use_sliding_window"] = true;
  EXPECT_THAT(errorOf(config), HasSubstr("use_sliding_window"));
}

TEST(Config, ReadsMistralAsPublished) {
  // Mistral-7B-Instruct-v0.3
  json config = {{"architectures", {"MistralForCausalLM"}},
                 {"attention_dropout", 0.0},
                 {"bos_token_id", 1},
                 {"eos_token_id", 2},
                 {"hidden_act", "silu"},
                 {"hidden_size", 4096},
                 {"initializer_range", 0.02},
                 {"intermediate_size", 14336},
                 {"max_position_embeddings", 32768},
                 {"model_type", "mistral"},
                 {"num_attention_heads", 32},
                 {"num_hidden_layers", 32},
                 {"num_key_value_heads", 8},
                 {"rms_norm_eps", 1e-5},
                 {"rope_theta", 1000000.0},
                 {"sliding_window", nullptr},
                 {"tie_word_embeddings", false},
                 {"torch_dtype", "bfloat16"},
                 {"transformers_version", "4.42.0.dev0"},
                 {"use_cache", true},
                 {"vocab_size", 32768}};
  Result<ModelSpec> spec = read(config);
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_EQ(spec->headDim, 128);
  EXPECT_EQ(spec->findParameter("q_bias"), nullptr);
  EXPECT_EQ(spec->findParameter("k")->shape, (std::vector<int64_t>{1024, 4096}));
  EXPECT_NE(spec->findParameter("lm_head"), nullptr);
  config["sliding_window"] = 4096; // version 0.1
  EXPECT_THAT(errorOf(config), HasSubstr("sliding window ('sliding_window' = 4096, context 32768)"));
  config["sliding_window"] = 32768;
  EXPECT_EQ(errorOf(config), "no error") << "a window as long as the context hides nothing";
}

// A family file's own errors name the line.

std::string familyError(const std::string &text) {
  Result<Family> family = parseFamily("new", "facts:\n  qk_norm: none\n", text);
  return family ? "no error" : family.error().message;
}

TEST(FamilyFile, RefusesWhatTheFormatDoesNotHave) {
  EXPECT_EQ(familyError("model_types: [new]"), "no error");
  EXPECT_THAT(familyError("model_types: [new]\nrope: 1\n"),
              HasSubstr("new.yaml:2: 'rope' has no meaning here"));
  EXPECT_THAT(familyError("model_types: [new]\nfacts: {rope.thta: 1}\n"),
              HasSubstr("'rope.thta' is not a fact"));
  EXPECT_THAT(familyError("model_types: [new]\nconfig: {a: {only: [1], to: hidden}}\n"),
              HasSubstr("one of 'to', 'only' and 'keys'"));
  EXPECT_THAT(familyError("model_types: [new]\ntensors: {q: {hf: a, gguf: b, shape: [height]}}\n"),
              HasSubstr("'height' is not an extent"));
  EXPECT_THAT(familyError("model_types: [new]\ntensors: {q: {hf: 'a.{}', gguf: b, shape: [hidden]}}\n"),
              HasSubstr("both names or none"));
  EXPECT_THAT(familyError("model_types: [new]\ngguf: {recipes: {q: shuffle}}\n"),
              HasSubstr("'shuffle' is not a recipe"));
  EXPECT_THAT(familyError("model_types: [new\n"), HasSubstr("new.yaml:"));
  EXPECT_THAT(familyError("facts: {}\n"), HasSubstr("neither model_types nor gguf_architectures"));
}

TEST(FamilyFile, AFolderAddsFamiliesAndReplacesBuiltInOnes) {
  TemporaryFolder folder;
  folder.write("mine.yaml", "model_types: [mine]\nfacts: {rope.style: interleaved, rope.theta: 100}\n");
  folder.write("llama.yaml", "model_types: [llama]\nfacts: {rope.theta: 7}\n");
  Result<FamilyTable> table = FamilyTable::load(folder.path());
  ASSERT_TRUE(table) << table.error().message;
  json config = tinyLlamaConfig();
  config.erase("rope_theta");
  EXPECT_EQ(specFromConfig(config, *table, "c")->spec.rope.theta, 7);
  config["model_type"] = "mine";
  EXPECT_EQ(specFromConfig(config, *table, "c")->spec.rope.style, RopeStyle::Interleaved);
  EXPECT_FALSE(FamilyTable::load(folder.path("none")));
  EXPECT_EQ(families().findByModelType("mine"), nullptr);
}

} // namespace
