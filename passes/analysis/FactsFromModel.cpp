#include "passes/analysis/FactsFromModel.h"

#include "support/Dequantise.h"

using namespace fusebox;

MatrixView fusebox::viewTensor(const Checkpoint &checkpoint, const StoredTensor &tensor,
                               std::string_view recipe, int64_t headDim) {
  MatrixView view;
  view.dtype = tensor.dtype;
  view.bytes = checkpoint.data(tensor);
  view.file = &checkpoint.files()[tensor.file];
  view.rows = tensor.shape.front();
  view.columns = tensor.elements() / view.rows;
  view.pairedRowsOf = recipe == "unpermute-rope" ? headDim : 0;
  return view;
}

Result<std::vector<double>> fusebox::readVector(const Checkpoint &checkpoint, const StoredTensor &tensor,
                                                std::string_view recipe, int64_t headDim) {
  std::vector<float> stored(size_t(tensor.elements()));
  FUSEBOX_TRY(dequantiseRow(tensor.dtype, checkpoint.data(tensor), stored.size(), stored.data()));
  std::vector<double> values(stored.begin(), stored.end());
  if (recipe == "unpermute-rope") {
    int64_t half = headDim / 2;
    for (int64_t i = 0; i < int64_t(values.size()); ++i) {
      int64_t within = i % headDim;
      values[size_t(i)] = stored[size_t(i - within + 2 * (within % half) + within / half)];
    }
  }
  return values;
}

namespace {

/// Reads the parameters of a model by role.
class Reader {
public:
  Reader(const LoadedModel &model) : model(model), spec(model.spec) {}

  Result<MatrixView> matrix(std::string_view role, int64_t layer) const {
    const ParamSpec *parameter = spec.findParameter(role);
    if (!parameter)
      return MatrixView();
    FUSEBOX_ASSIGN(const StoredTensor *tensor, find(role, layer));
    return viewTensor(model.checkpoint, *tensor, parameter->recipe, spec.headDim);
  }

  Result<std::vector<double>> vector(std::string_view role, int64_t layer) const {
    const ParamSpec *parameter = spec.findParameter(role);
    if (!parameter)
      return std::vector<double>();
    FUSEBOX_ASSIGN(const StoredTensor *tensor, find(role, layer));
    auto values = readVector(model.checkpoint, *tensor, parameter->recipe, spec.headDim);
    if (!values)
      return modelError("tensor '" + tensor->name + "': " + values.error().message);
    return values;
  }

  Result<LinearFacts> linear(std::string_view role, int64_t layer) const {
    LinearFacts facts;
    FUSEBOX_ASSIGN(facts.weight, matrix(role, layer));
    FUSEBOX_ASSIGN(facts.bias, vector(std::string(role) + "_bias", layer));
    return facts;
  }

  Result<std::optional<NormFacts>> norm(std::string_view role, int64_t layer) const {
    if (!spec.findParameter(role))
      return std::optional<NormFacts>();
    NormFacts facts;
    FUSEBOX_ASSIGN(facts.gain, vector(role, layer));
    facts.eps = spec.norm.eps;
    if (spec.norm.gain == GainConvention::OnePlus)
      for (double &gain : facts.gain)
        gain += 1;
    return std::optional(facts);
  }

  Result<LayerFacts> layer(int64_t index) const {
    LayerFacts facts;
    FUSEBOX_ASSIGN(facts.attnNorm, norm("attn_norm", index));
    FUSEBOX_ASSIGN(facts.postAttnNorm, norm("post_attn_norm", index));
    FUSEBOX_ASSIGN(facts.mlpNorm, norm("mlp_norm", index));
    FUSEBOX_ASSIGN(facts.postMlpNorm, norm("post_mlp_norm", index));
    FUSEBOX_ASSIGN(facts.qNorm, norm("q_norm", index));
    FUSEBOX_ASSIGN(facts.kNorm, norm("k_norm", index));
    FUSEBOX_ASSIGN(facts.q, linear("q", index));
    FUSEBOX_ASSIGN(facts.k, linear("k", index));
    FUSEBOX_ASSIGN(facts.v, linear("v", index));
    FUSEBOX_ASSIGN(facts.o, linear("o", index));
    FUSEBOX_ASSIGN(facts.gate, linear("gate", index));
    FUSEBOX_ASSIGN(facts.up, linear("up", index));
    FUSEBOX_ASSIGN(facts.down, linear("down", index));
    return facts;
  }

private:
  Result<const StoredTensor *> find(std::string_view role, int64_t layer) const {
    const StoredTensor *tensor = model.find(role, layer);
    if (!tensor)
      return internalError(spec.source + ": parameter '" + std::string(role) + "' has no tensor in layer " +
                           std::to_string(layer));
    return tensor;
  }
  const LoadedModel &model;
  const ModelSpec &spec;
};

} // namespace

Result<ModelFacts> fusebox::factsFromModel(const LoadedModel &model, std::string name,
                                           const FactsOptions &options) {
  const ModelSpec &spec = model.spec;
  ModelFacts facts;
  facts.name = std::move(name);
  facts.architecture = spec.family;
  facts.hidden = spec.hidden;
  facts.heads = spec.heads;
  facts.kvHeads = spec.kvHeads;
  facts.headDim = spec.headDim;
  facts.intermediate = spec.intermediate;
  facts.vocab = spec.vocab;
  // As at import: a model in f16 computes in f32, for which there are kernels.
  facts.activations = options.activations.value_or(spec.dtype == DType::F16 ? DType::F32 : spec.dtype);
  facts.normRounding = spec.norm.rounding;
  facts.gainConvention = spec.norm.gain;
  if (const StoredTensor *norm = model.find("q_norm"))
    facts.normStorage = norm->dtype;
  facts.placement = spec.norm.placement;
  facts.qkNorm = spec.qkNorm;
  facts.ropeStyle = spec.rope.style;
  facts.ropeRounding = spec.rope.rounding;
  facts.rotaryDim = spec.rope.rotaryDim;
  facts.attentionRounding = options.rounding;
  facts.scale = spec.attention.scale;
  facts.softcap = spec.attention.softcap;
  facts.window = spec.attention.slidingWindow;
  facts.activation = spec.mlp.activation;
  facts.gated = spec.mlp.gated;
  facts.embeddingScale = spec.embeddingScale;
  facts.logitScale = spec.logitScale;
  facts.logitSoftcap = spec.logitSoftcap;
  facts.tiedEmbeddings = spec.tieEmbeddings;

  Reader reader(model);
  FUSEBOX_ASSIGN(facts.embed, reader.matrix("embed", 0));
  FUSEBOX_ASSIGN(facts.lmHead, reader.matrix("lm_head", 0));
  if (!facts.lmHead.present())
    facts.lmHead = facts.embed;
  FUSEBOX_ASSIGN(auto finalNorm, reader.norm("final_norm", 0));
  if (finalNorm)
    facts.finalNorm = *finalNorm;
  for (int64_t i = 0; i < spec.layers; ++i) {
    FUSEBOX_ASSIGN(LayerFacts layer, reader.layer(i));
    facts.layers.push_back(std::move(layer));
  }
  return facts;
}
