// What an architecture is, once a model's own description (config.json or GGUF metadata) has been read
// through its family file: one flat record that import turns into `layer` IR. Nothing here is a family: every
// field is a fact.
#pragma once

#include "support/DType.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace fusebox {

/// Where a block's norms sit: before a sub-layer (Llama), after it (OLMo 2), or both (Gemma 2).
enum class NormPlacement { Pre, Post, PrePost };
/// What the stored gain means: y·w, or y·(1 + w).
enum class GainConvention { Plain, OnePlus };
/// Rounding points of a norm to the activations' type (docs/numerics.md): the normalised value and then the
/// scaled one (Llama, Qwen), or only the scaled one (Gemma, OLMo 2).
enum class NormRounding { NormalisedThenScaled, ScaledOnly };
/// The norm on q and k before RoPE: none, per head of headDim values, or over all heads at once.
enum class QkNorm { None, PerHead, AllHeads };
/// Which values of a head RoPE pairs: (j, j + rotaryDim/2) or (2j, 2j + 1).
enum class RopeStyle { HalfSplit, Interleaved };
enum class RopeScaling { None, Linear, Llama3 };
/// Rounding points of RoPE: cos and sin, both products and the sum, all to the activations' type; or all in
/// f32 and the sum rounded.
enum class RopeRounding { Products, SumOnly };
enum class Activation { Silu, Gelu, GeluTanh };

struct NormSpec {
  double eps = 0;
  NormPlacement placement = NormPlacement::Pre;
  GainConvention gain = GainConvention::Plain;
  NormRounding rounding = NormRounding::NormalisedThenScaled;
};

struct RopeSpec {
  RopeStyle style = RopeStyle::HalfSplit;
  RopeRounding rounding = RopeRounding::Products;
  double theta = 10000;
  int64_t rotaryDim = 0; ///< leading values of a head that turn; headDim unless the model says otherwise
  RopeScaling scaling = RopeScaling::None;
  double factor = 1;               ///< Linear, Llama3: what positions, or low frequencies, are divided by
  double lowFreqFactor = 1;        ///< Llama3
  double highFreqFactor = 4;       ///< Llama3
  int64_t originalMaxPosition = 0; ///< Llama3
  /// If not empty, rotaryDim/2 values that the inverse frequencies are divided by, in f32 (GGUF's rope_freqs
  /// tensor); `scaling` is None then.
  std::vector<float> frequencyFactors;
};

struct AttentionSpec {
  double scale = 0; ///< what scores are multiplied by; 1/sqrt(headDim) unless the model says otherwise
  bool qkvBias = false;
  bool outputBias = false;
  std::optional<int64_t> slidingWindow; ///< positions visible to a query, itself included
  std::optional<double> softcap;        ///< scores become cap·tanh(score/cap)
};

struct MlpSpec {
  Activation activation = Activation::Silu;
  bool gated = true;
  bool bias = false;
};

/// A parameter of the model and where its values are stored.
struct ParamSpec {
  /// "embed", "attn_norm", "q", "k", "v", "o", "q_norm", "k_norm", "post_attn_norm", "mlp_norm", "gate",
  /// "up", "down", "post_mlp_norm", "final_norm", "lm_head"; a bias is "<role>_bias".
  std::string role;
  /// The tensor's name in the file; "{}" stands for the layer's index.
  std::string tensorName;
  bool perLayer = false;
  /// Row-major, outermost first: [out, in] for a matrix.
  std::vector<int64_t> shape;
  /// How the stored values become the parameter: "identity", or "unpermute-rope" (the rows of each head are
  /// stored as pairs 0, d/2, 1, d/2 + 1, …: row 2j + i of a head is the parameter's row i·d/2 + j; d =
  /// headDim).
  std::string recipe = "identity";

  /// The name of the tensor of `layer`.
  std::string nameAt(int64_t layer) const;
};

/// The normalised description of a decoder-only language model.
struct ModelSpec {
  std::string family;    ///< name of the family file, for messages and reports only
  std::string modelType; ///< config's model_type or GGUF's general.architecture
  std::string source;    ///< the file it was read from

  int64_t hidden = 0, layers = 0, heads = 0, kvHeads = 0, headDim = 0, intermediate = 0, vocab = 0,
          maxPosition = 0;
  bool tieEmbeddings = false;
  NormSpec norm;
  QkNorm qkNorm = QkNorm::None;
  RopeSpec rope;
  AttentionSpec attention;
  MlpSpec mlp;
  double embeddingScale = 1; ///< rounded to the activations' type before it is used
  double logitScale = 1;
  std::optional<double> logitSoftcap;

  DType dtype = DType::BF16; ///< of activations: the checkpoint's (F32, F16, BF16); BF16 for a quantised GGUF
  std::optional<int64_t> bosId;
  std::vector<int64_t> eosIds; ///< any of them ends a text; generation_config.json's if there is one

  std::vector<ParamSpec> parameters;

  /// The parameter of that role, or null.
  const ParamSpec *findParameter(std::string_view role) const;
};

} // namespace fusebox
