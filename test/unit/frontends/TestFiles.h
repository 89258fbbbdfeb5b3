// Small model files written by hand, for the front ends' tests: owing nothing to the readers, they may be
// wrong in any way a test wants.
#pragma once

#include "support/DType.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <unistd.h>
#include <vector>

namespace fusebox::test {

/// A new folder, removed at the end.
class TemporaryFolder {
public:
  explicit TemporaryFolder(const std::filesystem::path &parent = std::filesystem::temp_directory_path()) {
    std::string name = (parent / "fusebox-test-XXXXXX").string();
    folder = ::mkdtemp(name.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }
  TemporaryFolder(const TemporaryFolder &) = delete;
  TemporaryFolder &operator=(const TemporaryFolder &) = delete;

  std::string path(const std::string &name = "") const { return name.empty() ? folder : folder + "/" + name; }
  /// Writes a file, whose folder is made, and returns its path.
  std::string write(const std::string &name, const std::string &content) const {
    std::filesystem::create_directories(std::filesystem::path(path(name)).parent_path());
    std::ofstream(path(name), std::ios::binary) << content;
    return path(name);
  }

private:
  std::string folder;
};

inline std::string readText(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

inline std::span<const std::byte> asBytes(const std::string &text) { return std::as_bytes(std::span(text)); }

template <typename T> std::string raw(T value) {
  return std::string(reinterpret_cast<const char *>(&value), sizeof value);
}

/// A safetensors file of that header and `dataBytes` zeros.
inline std::string safetensors(const std::string &header, size_t dataBytes) {
  return raw(uint64_t(header.size())) + header + std::string(dataBytes, '\0');
}

/// A safetensors file of bf16 zeros with these names and shapes.
inline std::string safetensors(const std::vector<std::pair<std::string, std::vector<int64_t>>> &tensors) {
  nlohmann::json header = nlohmann::json::object();
  uint64_t end = 0;
  for (const auto &[name, shape] : tensors) {
    uint64_t bytes = 2;
    for (int64_t extent : shape)
      bytes *= uint64_t(extent);
    header[name] = {{"dtype", "BF16"}, {"shape", shape}, {"data_offsets", {end, end + bytes}}};
    end += bytes;
  }
  return safetensors(header.dump(), end);
}

/// Builds a GGUF file piece by piece.
class GgufBuilder {
public:
  GgufBuilder &text(const std::string &key, const std::string &value) { return entry(key, 8, string(value)); }
  GgufBuilder &u32(const std::string &key, uint32_t value) { return entry(key, 4, raw(value)); }
  GgufBuilder &f32(const std::string &key, float value) { return entry(key, 6, raw(value)); }
  GgufBuilder &flag(const std::string &key, bool value) { return entry(key, 7, raw(uint8_t(value))); }
  GgufBuilder &texts(const std::string &key, const std::vector<std::string> &values) {
    std::string body = raw(uint32_t(8)) + raw(uint64_t(values.size()));
    for (const std::string &value : values)
      body += string(value);
    return entry(key, 9, body);
  }
  template <typename T>
  GgufBuilder &numbers(const std::string &key, uint32_t type, const std::vector<T> &values) {
    std::string body = raw(type) + raw(uint64_t(values.size()));
    for (T value : values)
      body += raw(value);
    return entry(key, 9, body);
  }
  /// Any value, as it stands in the file.
  GgufBuilder &entry(const std::string &key, uint32_t type, const std::string &body) {
    entries += string(key) + raw(type) + body;
    ++entryCount;
    return *this;
  }
  /// `shape` is outermost first; `type` is ggml's number.
  GgufBuilder &tensor(const std::string &name, uint32_t type, const std::vector<int64_t> &shape,
                      const std::string &content) {
    data.resize((data.size() + 31) / 32 * 32);
    directory += string(name) + raw(uint32_t(shape.size()));
    for (size_t axis = shape.size(); axis-- > 0;)
      directory += raw(uint64_t(shape[axis]));
    directory += raw(type) + raw(uint64_t(data.size()));
    data += content;
    ++tensorCount;
    return *this;
  }
  /// An F32 tensor of zeros.
  GgufBuilder &zeros(const std::string &name, const std::vector<int64_t> &shape) {
    size_t count = 1;
    for (int64_t extent : shape)
      count *= size_t(extent);
    return tensor(name, 0, shape, std::string(4 * count, '\0'));
  }

  std::string build() const {
    std::string file = "GGUF" + raw(uint32_t(3)) + raw(tensorCount) + raw(entryCount) + entries + directory;
    file.resize((file.size() + 31) / 32 * 32);
    return file + data;
  }

private:
  static std::string string(const std::string &value) { return raw(uint64_t(value.size())) + value; }

  std::string entries, directory, data;
  uint64_t entryCount = 0, tensorCount = 0;
};

/// Metadata and tensors of a two-layer model of llama's shape: hidden 8, 2 heads, 1 kv head, 12 intermediate,
/// 5 words.
inline GgufBuilder tinyLlamaGguf(const std::string &architecture = "llama") {
  GgufBuilder gguf;
  gguf.text("general.architecture", architecture);
  auto key = [&](const char *name) { return architecture + "." + name; };
  gguf.u32(key("block_count"), 2).u32(key("embedding_length"), 8).u32(key("feed_forward_length"), 12);
  gguf.u32(key("attention.head_count"), 2)
      .u32(key("attention.head_count_kv"), 1)
      .u32(key("context_length"), 64);
  gguf.f32(key("attention.layer_norm_rms_epsilon"), 1e-5f).f32(key("rope.freq_base"), 10000);
  gguf.u32("tokenizer.ggml.bos_token_id", 1).u32("tokenizer.ggml.eos_token_id", 2);
  gguf.texts("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "a", "b"});
  gguf.zeros("token_embd.weight", {5, 8}).zeros("output_norm.weight", {8});
  for (int layer = 0; layer < 2; ++layer) {
    std::string block = "blk." + std::to_string(layer) + ".";
    gguf.zeros(block + "attn_norm.weight", {8}).zeros(block + "ffn_norm.weight", {8});
    gguf.zeros(block + "attn_q.weight", {8, 8}).zeros(block + "attn_k.weight", {4, 8});
    gguf.zeros(block + "attn_v.weight", {4, 8}).zeros(block + "attn_output.weight", {8, 8});
    gguf.zeros(block + "ffn_gate.weight", {12, 8}).zeros(block + "ffn_up.weight", {12, 8});
    gguf.zeros(block + "ffn_down.weight", {8, 12});
  }
  return gguf;
}

/// A config.json of the same model.
inline nlohmann::json tinyLlamaConfig() {
  return {{"model_type", "llama"},
          {"architectures", {"LlamaForCausalLM"}},
          {"hidden_size", 8},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 2},
          {"num_key_value_heads", 1},
          {"intermediate_size", 12},
          {"vocab_size", 5},
          {"max_position_embeddings", 64},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"tie_word_embeddings", true},
          {"torch_dtype", "bfloat16"},
          {"hidden_act", "silu"},
          {"bos_token_id", 1},
          {"eos_token_id", 2}};
}

/// Its tensors, for safetensors().
inline std::vector<std::pair<std::string, std::vector<int64_t>>> tinyLlamaTensors() {
  std::vector<std::pair<std::string, std::vector<int64_t>>> tensors = {{"model.embed_tokens.weight", {5, 8}},
                                                                       {"model.norm.weight", {8}}};
  for (int layer = 0; layer < 2; ++layer) {
    std::string block = "model.layers." + std::to_string(layer) + ".";
    for (const auto &[name, shape] :
         std::vector<std::pair<std::string, std::vector<int64_t>>>{{"input_layernorm", {8}},
                                                                   {"post_attention_layernorm", {8}},
                                                                   {"self_attn.q_proj", {8, 8}},
                                                                   {"self_attn.k_proj", {4, 8}},
                                                                   {"self_attn.v_proj", {4, 8}},
                                                                   {"self_attn.o_proj", {8, 8}},
                                                                   {"mlp.gate_proj", {12, 8}},
                                                                   {"mlp.up_proj", {12, 8}},
                                                                   {"mlp.down_proj", {8, 12}}})
      tensors.push_back({block + name + ".weight", shape});
  }
  return tensors;
}

} // namespace fusebox::test
