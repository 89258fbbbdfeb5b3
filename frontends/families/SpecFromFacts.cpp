// Facts to the fields of a ModelSpec, with every range and relation checked.
#include "frontends/families/Facts.h"

#include <cmath>
#include <functional>

using namespace fusebox;
using nlohmann::json;

namespace {

/// A description under construction, and facts that are no field of it.
struct Draft {
  ModelSpec spec;
  int64_t valueHeadDim = 0;
  std::vector<int64_t> extraEosIds;
};

/// Stores a fact's value; returns what was expected if the value is not that.
using Setter = std::function<std::optional<std::string>(Draft &draft, const json &value)>;

/// Sizes beyond these are damage, not models; within them no product of two overflows.
constexpr int64_t maxExtent = int64_t(1) << 28;
constexpr int64_t maxLayers = 4096;

std::optional<int64_t> asInteger(const json &value) {
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t(INT64_MAX))
    return std::nullopt;
  return value.is_number_integer() ? std::optional(value.get<int64_t>()) : std::nullopt;
}

/// A count or extent from 1 to `limit`, stored where `field` finds it.
template <typename Field> Setter extent(Field field, int64_t limit = maxExtent) {
  return [=](Draft &draft, const json &value) -> std::optional<std::string> {
    std::optional<int64_t> number = asInteger(value);
    if (!number || *number < 1 || *number > limit)
      return "an integer from 1 to " + std::to_string(limit);
    field(draft) = *number;
    return std::nullopt;
  };
}

template <typename Field> Setter positiveReal(Field field) {
  return [=](Draft &draft, const json &value) -> std::optional<std::string> {
    if (!value.is_number() || !std::isfinite(value.get<double>()) || value.get<double>() <= 0)
      return "a number above 0";
    field(draft) = value.get<double>();
    return std::nullopt;
  };
}

template <typename Field> Setter flag(Field field) {
  return [=](Draft &draft, const json &value) -> std::optional<std::string> {
    if (!value.is_boolean())
      return "true or false";
    field(draft) = value.get<bool>();
    return std::nullopt;
  };
}

template <typename Field, typename Value>
Setter choice(Field field, std::vector<std::pair<std::string, Value>> options) {
  return [=](Draft &draft, const json &value) -> std::optional<std::string> {
    std::string names;
    for (const auto &[name, meaning] : options) {
      if (sameScalar(value, name)) {
        field(draft) = meaning;
        return std::nullopt;
      }
      names += (names.empty() ? "" : ", ") + name;
    }
    return "one of " + names;
  };
}

std::optional<std::string> setBos(Draft &draft, const json &value) {
  draft.spec.bosId = asInteger(value);
  return draft.spec.bosId ? std::nullopt : std::optional<std::string>("a token id");
}

/// One id or a list of them, appended to where `field` finds it.
template <typename Field> Setter tokenIds(Field field) {
  return [=](Draft &draft, const json &value) -> std::optional<std::string> {
    for (const json &item : value.is_array() ? value : json::array({value})) {
      std::optional<int64_t> id = asInteger(item);
      if (!id)
        return "a token id or a list of them";
      field(draft).push_back(*id);
    }
    return std::nullopt;
  };
}

// clang-format off
#define FIELD(PATH) [](Draft &draft) -> auto & { return draft.PATH; }

const std::map<std::string, Setter, std::less<>> &setters() {
  static const std::map<std::string, Setter, std::less<>> table = {
    {"hidden", extent(FIELD(spec.hidden))},
    {"layers", extent(FIELD(spec.layers), maxLayers)},
    {"heads", extent(FIELD(spec.heads))},
    {"kv_heads", extent(FIELD(spec.kvHeads))},
    {"head_dim", extent(FIELD(spec.headDim))},
    {"value_head_dim", extent(FIELD(valueHeadDim))},
    {"intermediate", extent(FIELD(spec.intermediate))},
    {"vocab", extent(FIELD(spec.vocab))},
    {"max_position", extent(FIELD(spec.maxPosition))},
    {"tie_embeddings", flag(FIELD(spec.tieEmbeddings))},
    {"norm.eps", positiveReal(FIELD(spec.norm.eps))},
    {"norm.placement", choice<>(FIELD(spec.norm.placement), std::vector<std::pair<std::string, NormPlacement>>{
        {"pre", NormPlacement::Pre}, {"post", NormPlacement::Post}, {"pre_post", NormPlacement::PrePost}})},
    {"norm.gain", choice<>(FIELD(spec.norm.gain), std::vector<std::pair<std::string, GainConvention>>{
        {"plain", GainConvention::Plain}, {"one_plus", GainConvention::OnePlus}})},
    {"norm.rounding", choice<>(FIELD(spec.norm.rounding), std::vector<std::pair<std::string, NormRounding>>{
        {"normalised_then_scaled", NormRounding::NormalisedThenScaled}, {"scaled_only", NormRounding::ScaledOnly}})},
    {"qk_norm", choice<>(FIELD(spec.qkNorm), std::vector<std::pair<std::string, QkNorm>>{
        {"none", QkNorm::None}, {"per_head", QkNorm::PerHead}, {"all_heads", QkNorm::AllHeads}})},
    {"rope.style", choice<>(FIELD(spec.rope.style), std::vector<std::pair<std::string, RopeStyle>>{
        {"half_split", RopeStyle::HalfSplit}, {"interleaved", RopeStyle::Interleaved}})},
    {"rope.rounding", choice<>(FIELD(spec.rope.rounding), std::vector<std::pair<std::string, RopeRounding>>{
        {"products", RopeRounding::Products}, {"sum_only", RopeRounding::SumOnly}})},
    {"rope.theta", positiveReal(FIELD(spec.rope.theta))},
    {"rope.rotary_dim", extent(FIELD(spec.rope.rotaryDim))},
    {"rope.scaling", choice<>(FIELD(spec.rope.scaling), std::vector<std::pair<std::string, RopeScaling>>{
        {"none", RopeScaling::None}, {"linear", RopeScaling::Linear}, {"llama3", RopeScaling::Llama3}})},
    {"rope.factor", positiveReal(FIELD(spec.rope.factor))},
    {"rope.low_freq_factor", positiveReal(FIELD(spec.rope.lowFreqFactor))},
    {"rope.high_freq_factor", positiveReal(FIELD(spec.rope.highFreqFactor))},
    {"rope.original_max_position", extent(FIELD(spec.rope.originalMaxPosition))},
    {"attention.scale", positiveReal(FIELD(spec.attention.scale))},
    {"attention.qkv_bias", flag(FIELD(spec.attention.qkvBias))},
    {"attention.output_bias", flag(FIELD(spec.attention.outputBias))},
    {"attention.sliding_window", extent(FIELD(spec.attention.slidingWindow))},
    {"attention.softcap", positiveReal(FIELD(spec.attention.softcap))},
    {"mlp.activation", choice<>(FIELD(spec.mlp.activation), std::vector<std::pair<std::string, Activation>>{
        {"silu", Activation::Silu}, {"gelu", Activation::Gelu}, {"gelu_tanh", Activation::GeluTanh}})},
    {"mlp.gated", flag(FIELD(spec.mlp.gated))},
    {"mlp.bias", flag(FIELD(spec.mlp.bias))},
    {"embedding_scale", positiveReal(FIELD(spec.embeddingScale))},
    {"logit_scale", positiveReal(FIELD(spec.logitScale))},
    {"logit_softcap", positiveReal(FIELD(spec.logitSoftcap))},
    {"dtype", choice<>(FIELD(spec.dtype), std::vector<std::pair<std::string, DType>>{
        {"bf16", DType::BF16}, {"f16", DType::F16}, {"f32", DType::F32}})},
    {"bos", setBos},
    {"eos", tokenIds(FIELD(spec.eosIds))},
    {"eos_extra", tokenIds(FIELD(extraEosIds))},
  };
  return table;
}
#undef FIELD
// clang-format on

/// The key that would state a fact, for messages.
std::string keyOf(const std::string &fact, const KeyRules &rules, const std::string &prefix = "") {
  for (const auto &[key, rule] : rules) {
    for (const std::string &target : rule.facts) {
      if (target == fact)
        return prefix + key;
    }
    if (std::string inner = keyOf(fact, rule.keys, prefix + key + "."); !inner.empty())
      return inner;
  }
  return "";
}

/// Checks and completes a draft whose facts are all set.
class Completion {
public:
  Completion(Draft &draft, const Facts &facts, const KeyRules &rules, const std::string &file)
      : draft(draft), spec(draft.spec), facts(facts), rules(rules), file(file) {}

  Result<void> run() {
    FUSEBOX_TRY(
        requireFacts({"hidden", "layers", "heads", "intermediate", "vocab", "max_position", "norm.eps"}));
    FUSEBOX_TRY(completeHeads());
    FUSEBOX_TRY(completeRope());
    FUSEBOX_TRY(checkWindow());
    if (!facts.count("attention.scale"))
      spec.attention.scale = 1 / std::sqrt(double(spec.headDim));
    spec.eosIds.insert(spec.eosIds.end(), draft.extraEosIds.begin(), draft.extraEosIds.end());
    return {};
  }

private:
  std::string key(const std::string &fact) const {
    std::string name = keyOf(fact, rules);
    return "'" + (name.empty() ? fact : name) + "'";
  }
  Error fail(const std::string &what) const { return modelError(file + ": " + what); }

  Result<void> requireFacts(const std::vector<std::string> &required) const {
    for (const std::string &fact : required) {
      if (!facts.count(fact))
        return fail("lacks the key " + key(fact) + "; the description is incomplete, fetch the file again");
    }
    return {};
  }

  Result<void> completeHeads() {
    if (!facts.count("kv_heads"))
      spec.kvHeads = spec.heads;
    if (spec.heads % spec.kvHeads)
      return fail("its " + std::to_string(spec.heads) + " heads can't share " + std::to_string(spec.kvHeads) +
                  " key-value heads evenly: check " + key("heads") + " and " + key("kv_heads"));
    if (!facts.count("head_dim")) {
      if (spec.hidden % spec.heads)
        return fail("its hidden size " + std::to_string(spec.hidden) + " is no multiple of its " +
                    std::to_string(spec.heads) + " heads, and there is no key " + key("head_dim"));
      spec.headDim = spec.hidden / spec.heads;
    }
    if (spec.headDim % 2)
      return fail("its head size " + std::to_string(spec.headDim) + " is odd, RoPE needs pairs: check " +
                  key("head_dim"));
    if (spec.heads > maxExtent / spec.headDim)
      return fail("its heads have " + std::to_string(spec.headDim) +
                  " values each, more than any model: check " + key("head_dim"));
    if (draft.valueHeadDim && draft.valueHeadDim != spec.headDim)
      return fail("its values' head size " + std::to_string(draft.valueHeadDim) + " differs from its keys' " +
                  std::to_string(spec.headDim) + "; models with one size for both can be read");
    return {};
  }

  Result<void> completeRope() {
    RopeSpec &rope = spec.rope;
    if (!facts.count("rope.rotary_dim"))
      rope.rotaryDim = spec.headDim;
    if (rope.rotaryDim < 2 || rope.rotaryDim > spec.headDim || rope.rotaryDim % 2)
      return fail("RoPE can't turn " + std::to_string(rope.rotaryDim) + " of " +
                  std::to_string(spec.headDim) + " values of a head: check " + key("rope.rotary_dim"));
    if (rope.scaling != RopeScaling::None)
      FUSEBOX_TRY(requireFacts({"rope.factor"}));
    if (rope.scaling == RopeScaling::Llama3) {
      FUSEBOX_TRY(
          requireFacts({"rope.low_freq_factor", "rope.high_freq_factor", "rope.original_max_position"}));
      if (rope.highFreqFactor <= rope.lowFreqFactor)
        return fail(key("rope.high_freq_factor") + " must be above " + key("rope.low_freq_factor"));
    }
    return {};
  }

  /// A window as long as the context hides nothing.
  Result<void> checkWindow() {
    std::optional<int64_t> &window = spec.attention.slidingWindow;
    if (window && *window >= spec.maxPosition)
      window.reset();
    if (window)
      return fail("attention over a sliding window (" + key("attention.sliding_window") + " = " +
                  std::to_string(*window) + ", context " + std::to_string(spec.maxPosition) +
                  ") is not supported; use a model with full attention");
    return {};
  }

  Draft &draft;
  ModelSpec &spec;
  const Facts &facts;
  const KeyRules &rules;
  const std::string &file;
};

using ExtentOf = int64_t (*)(const ModelSpec &);
const std::map<std::string, ExtentOf, std::less<>> &extents() {
  static const std::map<std::string, ExtentOf, std::less<>> table = {
      {"hidden", [](const ModelSpec &spec) { return spec.hidden; }},
      {"intermediate", [](const ModelSpec &spec) { return spec.intermediate; }},
      {"vocab", [](const ModelSpec &spec) { return spec.vocab; }},
      {"head_dim", [](const ModelSpec &spec) { return spec.headDim; }},
      {"all_heads", [](const ModelSpec &spec) { return spec.heads * spec.headDim; }},
      {"all_kv_heads", [](const ModelSpec &spec) { return spec.kvHeads * spec.headDim; }},
  };
  return table;
}

} // namespace

bool fusebox::isFactName(std::string_view name) { return setters().count(name) != 0; }
bool fusebox::isExtentName(std::string_view name) { return extents().count(name) != 0; }

Result<ModelSpec> fusebox::specFromFacts(const Facts &facts, const Family &family, const KeyRules &rules,
                                         const std::string &file) {
  Draft draft;
  draft.spec.family = family.name;
  draft.spec.source = file;
  for (const auto &[name, fact] : facts) {
    std::string where = fact.key.empty() ? "the fact '" + name + "' of " + family.name + ".yaml"
                                         : "the key '" + fact.key + "'";
    auto setter = setters().find(name);
    if (setter == setters().end())
      return internalError("no fact has the name '" + name + "'");
    if (std::optional<std::string> expected = setter->second(draft, fact.value))
      return modelError(file + ": " + where + " must be " + *expected);
  }
  FUSEBOX_TRY(Completion(draft, facts, rules, file).run());
  return std::move(draft.spec);
}

std::vector<ParamSpec> fusebox::parameterTable(const ModelSpec &spec, const Facts &facts,
                                               const Family &family, bool gguf) {
  std::vector<ParamSpec> table;
  for (const TensorRule &rule : family.tensors) {
    bool present = true;
    for (const auto &[fact, value] : rule.conditions) {
      auto found = facts.find(fact);
      present &= found != facts.end() && sameScalar(found->second.value, value);
    }
    if (!present)
      continue;
    ParamSpec parameter;
    parameter.role = rule.role;
    parameter.tensorName = gguf ? rule.ggufName : rule.hfName;
    parameter.perLayer = parameter.tensorName.find("{}") != std::string::npos;
    for (const std::string &name : rule.shape)
      parameter.shape.push_back(extents().find(name)->second(spec));
    auto recipe = family.ggufRecipes.find(rule.role);
    if (gguf && recipe != family.ggufRecipes.end())
      parameter.recipe = recipe->second;
    table.push_back(std::move(parameter));
  }
  return table;
}
