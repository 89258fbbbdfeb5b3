#include "passes/select-kernels/PlanRecords.h"

#include "kernels/cpu/KernelAbi.h"

using namespace mlir;
using namespace fusebox;

/// The model's configuration, and the type of its activations: that of the first operation's result.
static DictionaryAttr modelFacts(layer::ModelOp model) {
  NamedAttrList facts(model.getConfig());
  Builder builder(model.getContext());
  model.getGraph().walk([&](layer::EmbedOp embed) {
    if (auto dtype = elementDType(embed.getType()))
      facts.set("dtype", builder.getStringAttr(StringRef(dtypeName(*dtype))));
  });
  return facts.getDictionary(model.getContext());
}

PlanRecords::PlanRecords(layer::ModelOp model, const TargetSpec &spec) : model(model), builder(model) {
  builder.setInsertionPointToEnd(model->getBlock());
  Location loc = model.getLoc();
  program = plan::ProgramOp::create(builder, loc, spec.name(), modelFacts(model), DenseI64ArrayAttr());
  builder.setInsertionPointToStart(&program.getBody().emplaceBlock());
  auto targetOp = plan::TargetOp::create(
      builder, loc, uniqueName("target"), plan::DeviceKindAttr::get(model.getContext(), spec.kind),
      builder.getStringAttr(spec.machine), builder.getStringAttr(spec.features));
  target = FlatSymbolRefAttr::get(targetOp.getSymNameAttr());
  ArrayAttr files = model.getFiles().value_or(builder.getArrayAttr({}));
  for (auto [index, path] : llvm::enumerate(files.getAsRange<StringAttr>()))
    plan::FileOp::create(builder, loc, uniqueName("file" + Twine(index)), path);
}

StringAttr PlanRecords::uniqueName(const Twine &wanted) {
  std::string name = wanted.str();
  unsigned uses = usedNames[name]++;
  if (uses == 0)
    return builder.getStringAttr(name);
  return uniqueName(name + "_" + Twine(uses));
}

/// Bytes of a tensor in element type `type`.
static int64_t tensorBytes(ArrayRef<int64_t> shape, DType type) {
  int64_t elements = 1;
  for (int64_t size : shape)
    elements *= size;
  return elements / blockSize(type).elements * blockSize(type).bytes;
}

FailureOr<FlatSymbolRefAttr> PlanRecords::weight(StringRef parameter, DType type) {
  if (FlatSymbolRefAttr known = weights.lookup(parameter))
    return known;
  auto param = model.lookupSymbol<layer::ParamOp>(parameter);
  if (!param.getSources())
    return param.emitError("is bound to no stored tensor; bind-weights does that"), failure();
  SmallVector<Attribute> instances;
  for (auto source : param.getSources()->getAsRange<layer::SourceAttr>()) {
    auto file = FlatSymbolRefAttr::get(param.getContext(), ("file" + Twine(source.getFile())).str());
    Attribute only = plan::SourceAttr::get(param.getContext(), file, source.getOffset(), source.getBytes(),
                                           source.getDtype(), source.getShape());
    instances.push_back(builder.getArrayAttr(only));
  }
  SmallVector<Attribute> recipe;
  for (Attribute step : param.getRecipe().value_or(builder.getArrayAttr({})))
    if (cast<StringAttr>(step) != "identity")
      recipe.push_back(step);
  auto shaped = cast<ShapedType>(param.getType());
  if (type != *elementDType(shaped))
    recipe.push_back(builder.getStringAttr("widen " + StringRef(dtypeName(type))));
  auto users = SymbolTable::getSymbolUses(param, model);
  bool gathered = llvm::all_of(*users, [](auto use) { return isa<layer::EmbedOp>(use.getUser()); });
  auto op = plan::WeightOp::create(
      builder, param.getLoc(), uniqueName(parameter), builder.getStringAttr(StringRef(dtypeName(type))),
      builder.getDenseI64ArrayAttr(shaped.getShape()),
      builder.getI64IntegerAttr(tensorBytes(shaped.getShape(), type)),
      param.getLayers() ? builder.getI64IntegerAttr(0) : IntegerAttr(), builder.getArrayAttr(recipe),
      builder.getArrayAttr(instances), gathered ? builder.getUnitAttr() : UnitAttr(),
      builder.getI64IntegerAttr(0));
  return weights[parameter] = FlatSymbolRefAttr::get(op.getSymNameAttr());
}

FlatSymbolRefAttr PlanRecords::constant(DenseElementsAttr data) {
  FlatSymbolRefAttr &known = constants[data];
  if (!known)
    known = FlatSymbolRefAttr::get(
        plan::ConstantOp::create(builder, model.getLoc(), uniqueName("constant"), data).getSymNameAttr());
  return known;
}

FlatSymbolRefAttr PlanRecords::kvCache(int64_t pageBytes) {
  FlatSymbolRefAttr &known = caches[pageBytes];
  if (!known) {
    auto layers = model.getConfig().getAs<IntegerAttr>("layers");
    auto op = plan::KvCacheOp::create(builder, model.getLoc(), uniqueName("kv"), layers,
                                      builder.getI64IntegerAttr(kvPageTokens),
                                      builder.getI64IntegerAttr(pageBytes), builder.getI64IntegerAttr(0));
    known = FlatSymbolRefAttr::get(op.getSymNameAttr());
  }
  return known;
}

/// "linear.576x1536.rows1": the template (for a generated kernel, its body), its sizes, and the rows it is
/// for if not for any number.
static std::string kernelName(const KernelVariant &variant) {
  std::string name =
      variant.body && variant.kernel == "pointwise" ? variant.body.getValue().str() : variant.kernel;
  const char *separator = ".";
  for (const auto &[dimension, value] : variant.shape.dimensions) {
    bool tells = llvm::is_contained({"columns", "in", "out", "heads", "kvHeads", "headDim", "half"},
                                    StringRef(dimension));
    if (const int64_t *integer = std::get_if<int64_t>(&value); integer && tells) {
      name += separator + std::to_string(*integer);
      separator = "x";
    }
  }
  if (variant.maxRows != std::numeric_limits<uint32_t>::max())
    name += ".rows" + std::to_string(variant.maxRows);
  return name;
}

FlatSymbolRefAttr PlanRecords::kernel(const KernelVariant &variant) {
  SmallVector<NamedAttribute> shape;
  for (const auto &[dimension, value] : variant.shape.dimensions) {
    const int64_t *integer = std::get_if<int64_t>(&value);
    shape.emplace_back(builder.getStringAttr(dimension),
                       integer ? Attribute(builder.getI64IntegerAttr(*integer))
                               : Attribute(builder.getF64FloatAttr(std::get<double>(value))));
  }
  auto shapeAttr = builder.getDictionaryAttr(shape);
  Attribute body = variant.body ? Attribute(variant.body) : builder.getUnitAttr();
  ArrayAttr parts = variant.parts.empty() ? ArrayAttr() : builder.getArrayAttr(variant.parts);
  FlatSymbolRefAttr &known = kernels[builder.getArrayAttr(
      {builder.getStringAttr(variant.kernel), shapeAttr, body, builder.getArrayAttr(variant.parts)})];
  if (!known) {
    auto op = plan::KernelOp::create(
        builder, model.getLoc(), uniqueName(kernelName(variant)), builder.getStringAttr(variant.kernel),
        shapeAttr, variant.body, parts, target, builder.getI64IntegerAttr(variant.scratchBytes),
        builder.getI64IntegerAttr(variant.blockThreads), IntegerAttr(), FlatSymbolRefAttr());
    known = FlatSymbolRefAttr::get(op.getSymNameAttr());
  }
  return known;
}

FlatSymbolRefAttr PlanRecords::pointwise(PointwiseBody body) {
  std::string text;
  llvm::raw_string_ostream out(text);
  body->getBody().front().print(out);
  FlatSymbolRefAttr &known = bodies[text];
  if (!known) {
    body->setSymNameAttr(uniqueName(body->getSymName()));
    known = FlatSymbolRefAttr::get(body->getSymNameAttr());
    builder.insert(body.release());
  }
  return known;
}
