#include "passes/analyze/FactsFromIr.h"

#include "support/Dequantise.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace fusebox;

namespace {

DType dtypeOf(Type type) {
  Type element = getElementTypeOrSelf(type);
  if (element.isBF16())
    return DType::BF16;
  if (element.isF16())
    return DType::F16;
  return element.isF64() ? DType::F64 : DType::F32;
}

Activation activationOf(layer::Activation activation) {
  switch (activation) {
  case layer::Activation::Silu:
    return Activation::Silu;
  case layer::Activation::Gelu:
    return Activation::Gelu;
  case layer::Activation::GeluTanh:
    return Activation::GeluTanh;
  }
  llvm_unreachable("no other activation");
}

/// The one user of a value that is an operation of type OpT, or null.
template <typename OpT> OpT userOf(Value value) {
  for (Operation *user : value.getUsers())
    if (auto op = dyn_cast<OpT>(user))
      return op;
  return nullptr;
}

/// Reads one model; every failure is reported at the operation that is not as expected.
class Reader {
public:
  Reader(layer::ModelOp model, ArrayRef<MappedFile> files) : model(model), files(files) {}

  FailureOr<ModelFacts> run() {
    facts.name = model.getSymName().str();
    if (auto family = model.getConfig().getAs<StringAttr>("family"))
      facts.architecture = family.getValue().str();
    layer::GraphOp graph = model.getGraph();
    if (!graph)
      return model.emitError("has no graph to analyse"), failure();
    for (auto embed : graph.getBody().getOps<layer::EmbedOp>())
      if (failed(readEmbedding(embed)))
        return failure();
    for (auto repeat : graph.getBody().getOps<layer::RepeatOp>())
      if (failed(readLayers(repeat)))
        return failure();
    if (facts.layers.empty())
      return graph.emitError("has no layers to analyse"), failure();
    if (failed(readHead(graph)))
      return failure();
    return std::move(facts);
  }

private:
  FailureOr<const layer::SourceAttr> source(layer::ParamOp param, int64_t layer);
  FailureOr<MatrixView> matrix(Operation *user, StringRef symbol, int64_t layer);
  FailureOr<std::vector<double>> vector(Operation *user, StringRef symbol, int64_t layer);
  LogicalResult linear(layer::LinearOp op, int64_t layer, LinearFacts &out);
  LogicalResult norm(layer::NormOp op, int64_t layer, std::optional<NormFacts> &out);
  LogicalResult readEmbedding(layer::EmbedOp embed);
  LogicalResult readLayers(layer::RepeatOp repeat);
  LogicalResult readAttention(layer::AttentionOp op, int64_t layer, LayerFacts &out);
  LogicalResult readSide(Value value, bool isQuery, int64_t layer, std::optional<NormFacts> &normed,
                         LinearFacts &out, layer::NormOp &input);
  LogicalResult readMlp(layer::GluOp op, int64_t layer, LayerFacts &out);
  LogicalResult readOutput(Value value, int64_t layer, LinearFacts &out, std::optional<NormFacts> &post);
  LogicalResult readHead(layer::GraphOp graph);

  layer::ModelOp model;
  ArrayRef<MappedFile> files;
  ModelFacts facts;
};

/// The stored tensor of a parameter in a layer.
FailureOr<const layer::SourceAttr> Reader::source(layer::ParamOp param, int64_t layer) {
  auto sources = param.getSourcesAttr();
  size_t index = param.getLayers() ? size_t(layer) : 0;
  if (!sources || index >= sources.size())
    return param.emitOpError("is not bound to a tensor; run bind-weights first"), failure();
  auto found = cast<layer::SourceAttr>(sources[index]);
  if (found.getFile() >= files.size() ||
      uint64_t(found.getOffset()) + uint64_t(found.getBytes()) > files[found.getFile()].bytes().size())
    return param.emitOpError("is bound to bytes outside of its file"), failure();
  return found;
}

FailureOr<MatrixView> Reader::matrix(Operation *user, StringRef symbol, int64_t layer) {
  auto param =
      SymbolTable::lookupNearestSymbolFrom<layer::ParamOp>(user, StringAttr::get(user->getContext(), symbol));
  auto found = source(param, layer);
  if (failed(found))
    return failure();
  auto dtype = dtypeFromName(std::string_view(found->getDtype()));
  if (!dtype)
    return param.emitOpError("is stored in an unknown type, ") << found->getDtype(), failure();
  MatrixView view;
  view.dtype = *dtype;
  view.bytes = files[found->getFile()].bytes().subspan(size_t(found->getOffset()), size_t(found->getBytes()));
  view.file = &files[found->getFile()];
  view.rows = found->getShape().front();
  view.columns = found->getShape().back();
  auto type = cast<RankedTensorType>(param.getType());
  view.roundedToBf16 = *dtype != DType::BF16 && type.getElementType().isBF16();
  if (auto recipe = param.getRecipeAttr())
    for (Attribute step : recipe) {
      auto [name, heads] = cast<StringAttr>(step).getValue().split(' ');
      int64_t count = 0;
      if (name == "unpermute_rope" && !heads.getAsInteger(10, count) && count > 0)
        view.pairedRowsOf = view.rows / count;
    }
  return view;
}

FailureOr<std::vector<double>> Reader::vector(Operation *user, StringRef symbol, int64_t layer) {
  auto view = matrix(user, symbol, layer);
  if (failed(view))
    return failure();
  std::vector<double> values;
  // One value a row: so a permuted bias comes in the parameter's order.
  int64_t count = view->rows;
  view->columns = 1;
  for (int64_t i = 0; i < count; ++i) {
    float value;
    if (auto widened = dequantiseRow(view->dtype, view->row(i), 1, &value); !widened)
      return user->emitError(widened.error().message), failure();
    values.push_back(double(value));
  }
  return values;
}

LogicalResult Reader::linear(layer::LinearOp op, int64_t layer, LinearFacts &out) {
  auto weight = matrix(op, op.getWeight(), layer);
  if (failed(weight))
    return failure();
  out.weight = *weight;
  if (!op.getBias())
    return success();
  auto bias = vector(op, *op.getBias(), layer);
  if (failed(bias))
    return failure();
  out.bias = std::move(*bias);
  return success();
}

LogicalResult Reader::norm(layer::NormOp op, int64_t layer, std::optional<NormFacts> &out) {
  auto gain = vector(op, op.getGain(), layer);
  if (failed(gain))
    return failure();
  out = NormFacts{std::move(*gain), op.getEps().convertToDouble()};
  if (op.getOnePlus()) {
    facts.gainConvention = GainConvention::OnePlus;
    for (double &value : out->gain)
      value += 1;
  }
  facts.normRounding = op.getRounding() == layer::NormRounding::Scaled ? NormRounding::ScaledOnly
                                                                       : NormRounding::NormalisedThenScaled;
  return success();
}

LogicalResult Reader::readEmbedding(layer::EmbedOp embed) {
  auto table = matrix(embed, embed.getTable(), 0);
  if (failed(table))
    return failure();
  facts.embed = *table;
  facts.hidden = table->columns;
  facts.vocab = table->rows;
  facts.activations = dtypeOf(embed.getType());
  if (auto scale = userOf<layer::ScaleOp>(embed.getResult()))
    facts.embeddingScale = scale.getFactor().convertToDouble();
  return success();
}

LogicalResult Reader::readLayers(layer::RepeatOp repeat) {
  auto attentions = repeat.getBody().getOps<layer::AttentionOp>();
  auto glus = repeat.getBody().getOps<layer::GluOp>();
  if (!llvm::hasSingleElement(attentions) || !llvm::hasSingleElement(glus))
    return repeat.emitError("analysis expects one attention and one glu in a layer");
  for (int64_t i = 0; i < int64_t(repeat.getCount()); ++i) {
    int64_t layer = int64_t(repeat.getFirst()) + i;
    if (size_t(layer) >= facts.layers.size())
      facts.layers.resize(size_t(layer) + 1);
    LayerFacts &out = facts.layers[size_t(layer)];
    if (failed(readAttention(*attentions.begin(), layer, out)) || failed(readMlp(*glus.begin(), layer, out)))
      return failure();
  }
  return success();
}

/// q or k: linear, then a norm or none, then RoPE or none.
LogicalResult Reader::readSide(Value value, bool isQuery, int64_t layer, std::optional<NormFacts> &normed,
                               LinearFacts &out, layer::NormOp &input) {
  facts.rotaryDim = 0;
  if (auto rope = value.getDefiningOp<layer::RopeOp>()) {
    facts.ropeStyle =
        rope.getPairs() == layer::RopePairs::Interleaved ? RopeStyle::Interleaved : RopeStyle::HalfSplit;
    facts.ropeRounding =
        rope.getRounding() == layer::RopeRounding::Sum ? RopeRounding::SumOnly : RopeRounding::Products;
    facts.rotaryDim = cast<ShapedType>(rope.getAngles().getType()).getDimSize(1);
    if (auto angles = rope.getAngles().getDefiningOp<layer::RopeAnglesOp>())
      facts.ropeFactor = angles.getAttentionFactor().convertToDouble();
    value = rope.getInput();
  }
  facts.qkNorm = QkNorm::None;
  if (auto op = value.getDefiningOp<layer::NormOp>()) {
    if (failed(norm(op, layer, normed)))
      return failure();
    facts.qkNorm = op.getGroups() == 1 && (isQuery ? facts.heads : facts.kvHeads) != 1 ? QkNorm::AllHeads
                                                                                       : QkNorm::PerHead;
    value = op.getInput();
  }
  auto projection = value.getDefiningOp<layer::LinearOp>();
  if (!projection)
    return emitError(value.getLoc(), "analysis expects q and k to come from a linear layer");
  input = projection.getInput().getDefiningOp<layer::NormOp>();
  return linear(projection, layer, out);
}

LogicalResult Reader::readAttention(layer::AttentionOp op, int64_t layer, LayerFacts &out) {
  facts.heads = int64_t(op.getHeads());
  facts.kvHeads = int64_t(op.getKvHeads());
  facts.headDim = cast<ShapedType>(op.getQ().getType()).getDimSize(1) / facts.heads;
  facts.scale = op.getScale().convertToDouble();
  if (op.getSoftcap())
    facts.softcap = op.getSoftcap()->convertToDouble();
  if (op.getWindow())
    facts.window = int64_t(*op.getWindow());
  facts.attentionRounding = op.getRounding() == layer::AttentionRounding::Eager ? AttentionRounding::Eager
                                                                                : AttentionRounding::Sdpa;
  layer::NormOp input, same;
  if (failed(readSide(op.getK(), false, layer, out.kNorm, out.k, same)) ||
      failed(readSide(op.getQ(), true, layer, out.qNorm, out.q, input)))
    return failure();
  auto value = op.getV().getDefiningOp<layer::LinearOp>();
  if (!value || input != same || value.getInput().getDefiningOp<layer::NormOp>() != input)
    return op.emitError("analysis expects q, k and v to come from linear layers with one input");
  facts.placement = input ? NormPlacement::Pre : NormPlacement::Post;
  if (failed(linear(value, layer, out.v)) || (input && failed(norm(input, layer, out.attnNorm))))
    return failure();
  return readOutput(op.getResult(), layer, out.o, out.postAttnNorm);
}

/// The projection of a sub-layer's result, and a norm after it or none.
LogicalResult Reader::readOutput(Value value, int64_t layer, LinearFacts &out,
                                 std::optional<NormFacts> &post) {
  auto projection = userOf<layer::LinearOp>(value);
  if (!projection)
    return emitError(value.getLoc(), "analysis expects a linear layer to read this");
  if (failed(linear(projection, layer, out)))
    return failure();
  if (auto after = userOf<layer::NormOp>(projection.getResult()))
    return norm(after, layer, post);
  return success();
}

LogicalResult Reader::readMlp(layer::GluOp op, int64_t layer, LayerFacts &out) {
  auto gate = op.getGate().getDefiningOp<layer::LinearOp>(), up = op.getUp().getDefiningOp<layer::LinearOp>();
  if (!gate || !up || gate.getInput() != up.getInput())
    return op.emitError("analysis expects gate and up to come from linear layers with one input");
  facts.activation = activationOf(op.getActivation());
  if (failed(linear(gate, layer, out.gate)) || failed(linear(up, layer, out.up)))
    return failure();
  facts.intermediate = out.gate.weight.rows;
  if (auto input = gate.getInput().getDefiningOp<layer::NormOp>())
    if (failed(norm(input, layer, out.mlpNorm)))
      return failure();
  return readOutput(op.getResult(), layer, out.down, out.postMlpNorm);
}

/// From the logits back: cast, soft cap, scale, lm_head, final norm.
LogicalResult Reader::readHead(layer::GraphOp graph) {
  Value value = cast<layer::ReturnOp>(graph.getBody().front().getTerminator()).getValues().front();
  while (Operation *op = value.getDefiningOp()) {
    if (auto softcap = dyn_cast<layer::SoftcapOp>(op))
      facts.logitSoftcap = softcap.getCap().convertToDouble();
    else if (auto scale = dyn_cast<layer::ScaleOp>(op))
      facts.logitScale = scale.getFactor().convertToDouble();
    else if (!isa<layer::CastOp>(op))
      break;
    value = op->getOperand(0);
  }
  auto head = value.getDefiningOp<layer::LinearOp>();
  auto last = head ? head.getInput().getDefiningOp<layer::NormOp>() : layer::NormOp();
  if (!last)
    return graph.emitError("analysis expects logits to come from a norm and a linear layer");
  auto weight = matrix(head, head.getWeight(), 0);
  std::optional<NormFacts> finalNorm;
  if (failed(weight) || failed(norm(last, 0, finalNorm)))
    return failure();
  facts.lmHead = *weight;
  facts.finalNorm = *finalNorm;
  facts.tiedEmbeddings = weight->bytes.data() == facts.embed.bytes.data();
  return success();
}

} // namespace

FailureOr<ModelFacts> fusebox::factsFromIr(layer::ModelOp model, ArrayRef<MappedFile> files) {
  return Reader(model, files).run();
}
