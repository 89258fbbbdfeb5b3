#include "test/unit/gguf_models/GoldenGguf.h"

#include "frontends/Checkpoint.h"
#include "support/Dequantise.h"
#include "support/Float.h"
#include "test/unit/frontends/TestFiles.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>

using namespace fusebox;
using namespace fusebox::test;
using nlohmann::json;

namespace {

/// llama.cpp's name of a tensor of transformers'.
std::string ggufName(const std::string &name) {
  static const std::map<std::string, std::string> whole = {{"model.embed_tokens.weight", "token_embd.weight"},
                                                           {"model.norm.weight", "output_norm.weight"},
                                                           {"lm_head.weight", "output.weight"}};
  static const std::map<std::string, std::string> inLayer = {
      {"input_layernorm", "attn_norm"},    {"self_attn.q_proj", "attn_q"},
      {"self_attn.k_proj", "attn_k"},      {"self_attn.v_proj", "attn_v"},
      {"self_attn.o_proj", "attn_output"}, {"self_attn.q_norm", "attn_q_norm"},
      {"self_attn.k_norm", "attn_k_norm"}, {"post_attention_layernorm", "ffn_norm"},
      {"mlp.gate_proj", "ffn_gate"},       {"mlp.up_proj", "ffn_up"},
      {"mlp.down_proj", "ffn_down"}};
  if (auto found = whole.find(name); found != whole.end())
    return found->second;
  const std::string prefix = "model.layers.";
  size_t dot = name.find('.', prefix.size()), last = name.rfind('.');
  return "blk." + name.substr(prefix.size(), dot - prefix.size()) + "." +
         inLayer.at(name.substr(dot + 1, last - dot - 1)) + name.substr(last);
}

/// Rows i and i + d/2 of each head, neighbours in the file.
std::vector<float> permuteRows(const std::vector<float> &rows, size_t heads, size_t width) {
  std::vector<float> out(rows.size());
  size_t half = rows.size() / width / heads / 2;
  for (size_t row = 0; row < rows.size() / width; ++row) {
    size_t head = row / (2 * half), inHead = row % (2 * half);
    size_t target = head * 2 * half + 2 * (inHead % half) + inHead / half;
    std::copy_n(rows.begin() + ptrdiff_t(row * width), width, out.begin() + ptrdiff_t(target * width));
  }
  return out;
}

/// One block of 32 values, each to the nearest of the type's levels or so; Q5's fifth bits are in a word
/// before.
std::string quantiseBlock(DType type, const float *x) {
  bool affine = type == DType::Q4_1 || type == DType::Q5_1;
  int levels = type == DType::Q8_0 ? 255 : type == DType::Q4_0 || type == DType::Q4_1 ? 16 : 32;
  float low = *std::min_element(x, x + 32), high = *std::max_element(x, x + 32);
  float reach = std::max(std::abs(low), std::abs(high));
  float scale = f16ToF32(f32ToF16(affine ? (high - low) / float(levels - 1) : reach / float(levels / 2)));
  float offset = f16ToF32(f32ToF16(low));
  int zero = affine ? 0 : levels / 2;
  std::string block = raw(f32ToF16(scale)), low4(16, '\0'), bytes;
  uint32_t fifth = 0;
  for (int i = 0; i < 32; ++i) {
    float steps = scale == 0 ? 0 : (affine ? x[i] - offset : x[i]) / scale;
    int q = std::clamp(int(std::lround(steps)) + zero, 0, levels - 1);
    bytes += char(q - zero);
    low4[size_t(i % 16)] = char(uint8_t(low4[size_t(i % 16)]) | (q & 15) << (i < 16 ? 0 : 4));
    fifth |= uint32_t(q >> 4 & 1) << i;
  }
  if (type == DType::Q8_0)
    return block + bytes;
  if (affine)
    block += raw(f32ToF16(low));
  if (type == DType::Q5_0 || type == DType::Q5_1)
    block += raw(fifth);
  return block + low4;
}

std::string store(DType type, const std::vector<float> &values) {
  std::string out;
  if (type == DType::F32)
    return std::string(reinterpret_cast<const char *>(values.data()), 4 * values.size());
  for (size_t i = 0; i < values.size(); i += blockSize(type).elements)
    out += type == DType::BF16 ? raw(f32ToBf16(values[i])) : quantiseBlock(type, values.data() + i);
  return out;
}

uint32_t ggmlNumber(DType type) {
  static const std::map<DType, uint32_t> numbers = {{DType::F32, 0},  {DType::Q4_0, 2}, {DType::Q4_1, 3},
                                                    {DType::Q5_0, 6}, {DType::Q5_1, 7}, {DType::Q8_0, 8},
                                                    {DType::BF16, 30}};
  return numbers.at(type);
}

void addMetadata(GgufBuilder &gguf, const json &config) {
  std::string architecture = config["model_type"];
  auto key = [&](const char *name) { return architecture + "." + name; };
  gguf.text("general.architecture", architecture);
  gguf.u32(key("block_count"), config["num_hidden_layers"])
      .u32(key("context_length"), config["max_position_embeddings"]);
  gguf.u32(key("embedding_length"), config["hidden_size"])
      .u32(key("feed_forward_length"), config["intermediate_size"]);
  gguf.u32(key("attention.head_count"), config["num_attention_heads"]);
  gguf.u32(key("attention.head_count_kv"), config["num_key_value_heads"]);
  gguf.u32(key("attention.key_length"), config["head_dim"])
      .u32(key("attention.value_length"), config["head_dim"]);
  gguf.f32(key("attention.layer_norm_rms_epsilon"), config["rms_norm_eps"]);
  gguf.f32(key("rope.freq_base"), config["rope_parameters"]["rope_theta"]);
  gguf.u32("tokenizer.ggml.eos_token_id", config["eos_token_id"]);
}

/// rope_freqs: what Llama 3's scaling divides each inverse frequency by.
void addFrequencyFactors(GgufBuilder &gguf, const json &config) {
  const json &rope = config["rope_parameters"];
  if (rope["rope_type"] != "llama3")
    return;
  int64_t dim = config["head_dim"];
  double low = rope["low_freq_factor"], high = rope["high_freq_factor"],
         original = rope["original_max_position_embeddings"];
  double factor = rope["factor"];
  std::vector<float> factors;
  for (int64_t i = 0; i < dim; i += 2) {
    double wavelength = 2 * std::numbers::pi * std::pow(double(rope["rope_theta"]), double(i) / double(dim));
    double smooth = std::clamp((original / wavelength - low) / (high - low), 0.0, 1.0);
    factors.push_back(float(1 / ((1 - smooth) / factor + smooth)));
  }
  gguf.tensor("rope_freqs.weight", 0, {int64_t(factors.size())}, store(DType::F32, factors));
}

} // namespace

std::string test::ggufOfGolden(const std::string &folder, const GgufWriting &writing) {
  json config = json::parse(readText(folder + "/config.json"));
  Checkpoint checkpoint = *Checkpoint::open(folder);
  GgufBuilder gguf;
  addMetadata(gguf, config);
  addFrequencyFactors(gguf, config);
  for (const StoredTensor &tensor : checkpoint.tensors()) {
    std::vector<float> values(size_t(tensor.elements()));
    (void)dequantiseRow(tensor.dtype, checkpoint.data(tensor), values.size(), values.data());
    std::string name = ggufName(tensor.name);
    bool permuted = config["model_type"] == "llama" &&
                    (name.ends_with("attn_q.weight") || name.ends_with("attn_k.weight"));
    if (permuted)
      values = permuteRows(values,
                           config[name.ends_with("q.weight") ? "num_attention_heads" : "num_key_value_heads"],
                           size_t(tensor.shape[1]));
    DType type = tensor.shape.size() == 2 ? writing.matrices : DType::F32;
    std::string content = store(type, values);
    if (writing.widened) {
      (void)dequantiseRow(type, asBytes(content), values.size(), values.data());
      content = store(type = DType::F32, values);
    }
    gguf.tensor(name, ggmlNumber(type), tensor.shape, content);
  }
  return gguf.build();
}
