#include "frontends/import/ImportModel.h"

#include "frontends/import/RopeFrequencies.h"
#include "ir/layer/LayerOps.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace fusebox;

namespace {

/// Types that linear layers compute on as stored; the others are widened to bf16.
bool hasNativeKernel(DType type) {
  switch (type) {
  case DType::F32:
  case DType::F16:
  case DType::BF16:
  case DType::Q8_0:
  case DType::Q4_0:
  case DType::Q4_1:
    return true;
  default:
    return false;
  }
}

/// The type a parameter has in the IR, from its layers' stored types.
DType parameterType(ArrayRef<DType> stored, WeightTypes weights) {
  if (weights == WeightTypes::BF16 || !llvm::all_equal(stored) || !hasNativeKernel(stored.front()))
    return DType::BF16;
  return stored.front();
}

/// Builds one model. Methods that add a node return its value; `node` is its name in dumps and activations.
class ModelBuilder {
public:
  ModelBuilder(MLIRContext &context, const ModelSpec &spec, const ImportOptions &options)
      : spec(spec), options(options), builder(&context),
        file(FileLineColLoc::get(&context, spec.source, 0, 0)) {}

  FailureOr<OwningOpRef<ModuleOp>> build(ArrayRef<DType> types);

private:
  LogicalResult check();
  void addParameter(const ParamSpec &parameter, DType type);
  DictionaryAttr config();
  void addGraph();
  Value addLayers(Value input, Value angles);
  Value addAttentionPart(Value input, Value angles);
  Value addMlpPart(Value input);
  Value addHead(Value hidden);

  Value embed(Value tokens);
  Value angles(Value positions);
  Value norm(StringRef node, StringRef gain, Value input, int64_t groups = 1);
  Value linear(StringRef node, StringRef weight, Value input);
  Value rope(StringRef node, Value input, Value angles, int64_t heads);
  Value attention(Value q, Value k, Value v);
  Value add(StringRef node, Value lhs, Value rhs);

  Location at(StringRef name) { return NameLoc::get(builder.getStringAttr(name), file); }
  StringAttr name(const Twine &text) { return builder.getStringAttr(text); }
  FlatSymbolRefAttr symbol(StringRef role) { return FlatSymbolRefAttr::get(builder.getContext(), role); }
  RankedTensorType rows(int64_t columns, Type element) {
    return RankedTensorType::get({ShapedType::kDynamic, columns}, element);
  }
  RankedTensorType rows(int64_t columns) { return rows(columns, activation); }
  bool has(StringRef role) { return spec.findParameter({role.data(), role.size()}) != nullptr; }
  Type elementType(DType type);

  const ModelSpec &spec;
  const ImportOptions &options;
  OpBuilder builder;
  Location file;
  Type activation;
};

Type ModelBuilder::elementType(DType type) {
  switch (type) {
  case DType::BF16:
    return builder.getBF16Type();
  case DType::F16:
    return builder.getF16Type();
  case DType::F32:
    return builder.getF32Type();
  case DType::F64:
    return builder.getF64Type();
  default:
    std::string_view format = dtypeName(type);
    return layer::BlockType::get(builder.getContext(), StringRef(format.data(), format.size()));
  }
}

/// What the layer dialect can't express.
LogicalResult ModelBuilder::check() {
  if (!spec.mlp.gated)
    return emitError(file) << "the MLP of '" << spec.modelType << "' has no gate, which is not supported";
  if (options.dtype && *options.dtype != DType::BF16 && *options.dtype != DType::F32 &&
      *options.dtype != DType::F64)
    return emitError(file) << "activations can be bf16, f32 or f64, not " << dtypeName(*options.dtype).data();
  return success();
}

FailureOr<OwningOpRef<ModuleOp>> ModelBuilder::build(ArrayRef<DType> types) {
  if (failed(check()))
    return failure();
  DType own = spec.dtype == DType::F16 ? DType::F32 : spec.dtype;
  activation = elementType(options.dtype.value_or(own));
  OwningOpRef<ModuleOp> module(ModuleOp::create(builder, file));
  builder.setInsertionPointToStart(module->getBody());
  auto model = layer::ModelOp::create(builder, file, name("model"), config(), /*files=*/ArrayAttr(),
                                      /*verdicts=*/ArrayAttr());
  builder.setInsertionPointToStart(&model.getBody().emplaceBlock());
  for (auto [parameter, type] : llvm::zip_equal(spec.parameters, types))
    addParameter(parameter, type);
  addGraph();
  return module;
}

void ModelBuilder::addParameter(const ParamSpec &parameter, DType type) {
  auto layers = parameter.perLayer ? builder.getI64IntegerAttr(spec.layers) : IntegerAttr();
  ArrayAttr recipe;
  if (parameter.recipe == "unpermute-rope")
    recipe =
        builder.getArrayAttr(name("unpermute_rope " + std::to_string(parameter.shape[0] / spec.headDim)));
  layer::ParamOp::create(builder, at(parameter.tensorName), name(parameter.role), name(parameter.tensorName),
                         TypeAttr::get(RankedTensorType::get(parameter.shape, elementType(type))), layers,
                         recipe,
                         /*sources=*/ArrayAttr());
}

DictionaryAttr ModelBuilder::config() {
  SmallVector<NamedAttribute> facts = {
      builder.getNamedAttr("family", name(spec.family)),
      builder.getNamedAttr("vocabulary", builder.getI64IntegerAttr(spec.vocab)),
      builder.getNamedAttr("layers", builder.getI64IntegerAttr(spec.layers)),
      builder.getNamedAttr("max_position", builder.getI64IntegerAttr(spec.maxPosition)),
      builder.getNamedAttr("eos", builder.getI64ArrayAttr(spec.eosIds)),
  };
  if (spec.bosId)
    facts.push_back(builder.getNamedAttr("bos", builder.getI64IntegerAttr(*spec.bosId)));
  return builder.getDictionaryAttr(facts);
}

//===-- The graph ------------------------------------------------------------------------------===//

void ModelBuilder::addGraph() {
  OpBuilder::InsertionGuard guard(builder);
  auto graph = layer::GraphOp::create(builder, file);
  auto index = RankedTensorType::get({ShapedType::kDynamic}, builder.getI32Type());
  Block &body = graph.getBody().emplaceBlock();
  body.addArguments({index, index, index}, {at("tokens"), at("positions"), at("logits_rows")});
  builder.setInsertionPointToStart(&body);
  Value hidden = addLayers(embed(body.getArgument(0)), angles(body.getArgument(1)));
  Value wanted = layer::SelectRowsOp::create(builder, at("rows"), hidden.getType(), hidden,
                                             body.getArgument(2), name("rows"));
  layer::ReturnOp::create(builder, file, addHead(wanted));
}

Value ModelBuilder::addLayers(Value input, Value angles) {
  OpBuilder::InsertionGuard guard(builder);
  auto repeat =
      layer::RepeatOp::create(builder, at("decoder"), input.getType(), name("decoder"),
                              builder.getI64IntegerAttr(0), builder.getI64IntegerAttr(spec.layers), input);
  Block &body = repeat.getBody().emplaceBlock();
  body.addArgument(input.getType(), at("h"));
  builder.setInsertionPointToStart(&body);
  Value hidden = addMlpPart(addAttentionPart(body.getArgument(0), angles));
  layer::ReturnOp::create(builder, file, hidden);
  return repeat.getResult();
}

Value ModelBuilder::addAttentionPart(Value input, Value angles) {
  bool before = spec.norm.placement != NormPlacement::Post, after = spec.norm.placement != NormPlacement::Pre;
  Value x = before ? norm("attn_norm", "attn_norm", input) : input;
  Value q = linear("q", "q", x), k = linear("k", "k", x), v = linear("v", "v", x);
  if (spec.qkNorm != QkNorm::None) {
    bool perHead = spec.qkNorm == QkNorm::PerHead;
    q = norm("q_norm", "q_norm", q, perHead ? spec.heads : 1);
    k = norm("k_norm", "k_norm", k, perHead ? spec.kvHeads : 1);
  }
  q = rope("q_rope", q, angles, spec.heads);
  k = rope("k_rope", k, angles, spec.kvHeads);
  Value o = linear("o", "o", attention(q, k, v));
  if (after)
    o = norm("post_attn_norm", "post_attn_norm", o);
  return add("attn_residual", input, o);
}

Value ModelBuilder::addMlpPart(Value input) {
  bool before = spec.norm.placement != NormPlacement::Post, after = spec.norm.placement != NormPlacement::Pre;
  Value x = before ? norm("mlp_norm", "mlp_norm", input) : input;
  Value gate = linear("gate", "gate", x), up = linear("up", "up", x);
  auto activationKind = [&] {
    switch (spec.mlp.activation) {
    case Activation::Silu:
      return layer::Activation::Silu;
    case Activation::Gelu:
      return layer::Activation::Gelu;
    case Activation::GeluTanh:
      return layer::Activation::GeluTanh;
    }
    llvm_unreachable("no other activation");
  }();
  Value glu = layer::GluOp::create(builder, at("glu"), gate.getType(), gate, up, activationKind,
                                   layer::GluRounding::ActivationAndProduct, name("glu"));
  Value down = linear("down", "down", glu);
  if (after)
    down = norm("post_mlp_norm", "post_mlp_norm", down);
  return add("residual", input, down);
}

/// The last norm and the logits in f32.
Value ModelBuilder::addHead(Value hidden) {
  hidden = norm("final_norm", "final_norm", hidden);
  Value logits = linear("lm_head", has("lm_head") ? "lm_head" : "embed", hidden);
  if (spec.logitScale != 1)
    logits = layer::ScaleOp::create(builder, at("logits_scaled"), logits.getType(), logits,
                                    builder.getF64FloatAttr(spec.logitScale), name("logits_scaled"));
  if (spec.logitSoftcap)
    logits = layer::SoftcapOp::create(builder, at("logits_capped"), logits.getType(), logits,
                                      builder.getF64FloatAttr(*spec.logitSoftcap), name("logits_capped"));
  return layer::CastOp::create(builder, at("logits"), rows(spec.vocab, builder.getF32Type()), logits,
                               name("logits"));
}

//===-- Nodes ----------------------------------------------------------------------------------===//

Value ModelBuilder::embed(Value tokens) {
  Value x =
      layer::EmbedOp::create(builder, at("embed"), rows(spec.hidden), tokens, symbol("embed"), name("embed"));
  if (spec.embeddingScale == 1)
    return x;
  return layer::ScaleOp::create(builder, at("embed_scaled"), x.getType(), x,
                                builder.getF64FloatAttr(spec.embeddingScale), name("embed_scaled"));
}

/// Angles are rounded to the activations' type where the products are, else kept in f32.
Value ModelBuilder::angles(Value positions) {
  bool wide = spec.rope.rounding == RopeRounding::SumOnly && !activation.isF64();
  std::vector<float> frequencies = ropeFrequencies(spec.rope);
  return layer::RopeAnglesOp::create(
      builder, at("angles"), rows(spec.rope.rotaryDim, wide ? builder.getF32Type() : activation), positions,
      builder.getDenseF32ArrayAttr(frequencies), builder.getF64FloatAttr(1.0), name("angles"));
}

Value ModelBuilder::norm(StringRef node, StringRef gain, Value input, int64_t groups) {
  auto rounding = spec.norm.rounding == NormRounding::ScaledOnly ? layer::NormRounding::Scaled
                                                                 : layer::NormRounding::NormalisedAndScaled;
  bool onePlus = spec.norm.gain == GainConvention::OnePlus;
  return layer::NormOp::create(builder, at(node), input.getType(), input, symbol(gain),
                               builder.getF64FloatAttr(spec.norm.eps), builder.getI64IntegerAttr(groups),
                               onePlus ? builder.getUnitAttr() : UnitAttr(),
                               layer::NormRoundingAttr::get(builder.getContext(), rounding), name(node));
}

Value ModelBuilder::linear(StringRef node, StringRef weight, Value input) {
  std::string bias = (weight + "_bias").str();
  int64_t out = spec.findParameter({weight.data(), weight.size()})->shape[0];
  return layer::LinearOp::create(builder, at(node), rows(out), input, symbol(weight),
                                 has(bias) ? symbol(bias) : FlatSymbolRefAttr(), name(node));
}

Value ModelBuilder::rope(StringRef node, Value input, Value angles, int64_t heads) {
  bool interleaved = spec.rope.style == RopeStyle::Interleaved;
  bool products = spec.rope.rounding == RopeRounding::Products;
  return layer::RopeOp::create(builder, at(node), input.getType(), input, angles, heads,
                               interleaved ? layer::RopePairs::Interleaved : layer::RopePairs::HalfSplit,
                               products ? layer::RopeRounding::ProductsAndSum : layer::RopeRounding::Sum,
                               name(node));
}

Value ModelBuilder::attention(Value q, Value k, Value v) {
  const AttentionSpec &attention = spec.attention;
  auto window = attention.slidingWindow ? builder.getI64IntegerAttr(*attention.slidingWindow) : IntegerAttr();
  auto softcap = attention.softcap ? builder.getF64FloatAttr(*attention.softcap) : FloatAttr();
  auto rounding = options.rounding == ReferenceRounding::Eager ? layer::AttentionRounding::Eager
                                                               : layer::AttentionRounding::Sdpa;
  return layer::AttentionOp::create(
      builder, at("attn"), q.getType(), q, k, v, builder.getI64IntegerAttr(spec.heads),
      builder.getI64IntegerAttr(spec.kvHeads), builder.getF64FloatAttr(attention.scale), window, softcap,
      layer::AttentionRoundingAttr::get(builder.getContext(), rounding), name("attn"));
}

Value ModelBuilder::add(StringRef node, Value lhs, Value rhs) {
  return layer::AddOp::create(builder, at(node), lhs.getType(), lhs, rhs, name(node));
}

} // namespace

void fusebox::loadLayerDialect(MLIRContext &context) { context.loadDialect<layer::LayerDialect>(); }

FailureOr<OwningOpRef<ModuleOp>> fusebox::importModel(MLIRContext &context, const LoadedModel &model,
                                                      const ImportOptions &options) {
  loadLayerDialect(context);
  SmallVector<DType> types;
  for (const BoundParameter &bound : model.parameters) {
    SmallVector<DType> stored;
    for (size_t tensor : bound.tensors)
      stored.push_back(model.checkpoint.tensors()[tensor].dtype);
    types.push_back(parameterType(stored, options.weights));
  }
  return ModelBuilder(context, model.spec, options).build(types);
}

FailureOr<OwningOpRef<ModuleOp>> fusebox::importModel(MLIRContext &context, const ModelSpec &spec,
                                                      const ImportOptions &options) {
  loadLayerDialect(context);
  SmallVector<DType> types(spec.parameters.size(), parameterType(spec.dtype, options.weights));
  return ModelBuilder(context, spec, options).build(types);
}
