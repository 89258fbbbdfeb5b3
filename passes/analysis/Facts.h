// What the analysis needs to know about a model: its shape, its rounding points and views of its weights.
// Filled from a loaded model (FactsFromModel.h) or from `layer` IR (FactsFromIR.h); the metrics read nothing
// else.
#pragma once

#include "frontends/ModelSpec.h"
#include "support/DType.h"
#include "support/MappedFile.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace fusebox {

/// A stored matrix, row-major, [rows, columns]. Doesn't own its bytes; they may have any alignment.
struct MatrixView {
  DType dtype = DType::BF16;
  std::span<const std::byte> bytes;
  /// The file that `bytes` are mapped from, or null: large parts are read from it instead (nearRows).
  const MappedFile *file = nullptr;
  int64_t rows = 0, columns = 0;
  /// Not 0: the rows of each head of that many are stored as rotary pairs (recipe "unpermute-rope").
  int64_t pairedRowsOf = 0;
  /// The model computes with the values rounded to bf16 (a stored type without kernels of its own).
  bool roundedToBf16 = false;

  bool present() const { return rows != 0; }
  /// The bytes of parameter row `row`, wherever it is stored.
  std::span<const std::byte> row(int64_t row) const;
};

/// x W^T + b. `bias` is empty where the model has none.
struct LinearFacts {
  MatrixView weight;
  std::vector<double> bias;
};

/// Effective gains of an RMS norm: the stored ones, with 1 added where the family says so.
struct NormFacts {
  std::vector<double> gain;
  double eps = 0;
};

struct LayerFacts {
  /// Absent norms are absent: no gain of 1 is made up for them.
  std::optional<NormFacts> attnNorm, postAttnNorm, mlpNorm, postMlpNorm, qNorm, kNorm;
  LinearFacts q, k, v, o, gate, up, down;
};

/// Where attention rounds: HF's eager code, or flash-like kernels (our standard).
enum class AttentionRounding { Sdpa, Eager };

/// Elements of a head that RoPE rotates together, and those it leaves alone.
struct RotaryPairs {
  std::vector<std::pair<int64_t, int64_t>> pairs;
  std::vector<int64_t> single;
};
/// The pairs of a head of `headDim` values of which the first `rotaryDim` turn.
RotaryPairs rotaryPairs(RopeStyle style, int64_t headDim, int64_t rotaryDim);

struct ModelFacts {
  std::string name, architecture;
  int64_t hidden = 0, heads = 0, kvHeads = 0, headDim = 0, intermediate = 0, vocab = 0;
  DType activations = DType::BF16;
  NormRounding normRounding = NormRounding::NormalisedThenScaled;
  GainConvention gainConvention = GainConvention::Plain;
  DType normStorage = DType::BF16; ///< type that gains are stored in
  NormPlacement placement = NormPlacement::Pre;
  QkNorm qkNorm = QkNorm::None;
  RopeStyle ropeStyle = RopeStyle::HalfSplit;
  RopeRounding ropeRounding = RopeRounding::Products;
  int64_t rotaryDim = 0;
  double ropeFactor = 1; ///< what cos and sin are multiplied by (YaRN's attention factor)
  AttentionRounding attentionRounding = AttentionRounding::Sdpa;
  double scale = 0;
  std::optional<double> softcap, logitSoftcap;
  std::optional<int64_t> window;
  Activation activation = Activation::Silu;
  bool gated = true;
  double embeddingScale = 1, logitScale = 1;
  bool tiedEmbeddings = false;

  MatrixView embed, lmHead; ///< the same view where embeddings are tied
  NormFacts finalNorm;
  std::vector<LayerFacts> layers;

  /// Nodes that feed a quantiser, a top-k or a comparison, and which one: they take only contract exact.
  std::map<std::string, std::string> discontinuities;

  int64_t queriesPerKey() const { return heads / kvHeads; }
  /// Elements that one norm of q or k is taken over, of so many heads; as many gains it has.
  int64_t qkNormElements(int64_t ofHeads) const {
    return qkNorm == QkNorm::AllHeads ? ofHeads * headDim : headDim;
  }
};

} // namespace fusebox
