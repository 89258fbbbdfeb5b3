#include "passes/bind-weights/BindWeights.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace fusebox;

namespace {

std::string show(ArrayRef<int64_t> shape) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  stream << "[";
  llvm::interleaveComma(shape, stream);
  stream << "]";
  return text;
}

/// The name in an IR type: "bf16", "q4_1".
std::string elementName(Type type) {
  Type element = cast<RankedTensorType>(type).getElementType();
  if (auto block = dyn_cast<layer::BlockType>(element))
    return block.getFormat().str();
  std::string text;
  llvm::raw_string_ostream(text) << element;
  return text;
}

/// Binds one model's parameters and gathers what does not fit.
class Binder {
public:
  Binder(layer::ModelOp model, const Checkpoint &checkpoint)
      : model(model), checkpoint(checkpoint), builder(model.getContext()) {}

  LogicalResult run() {
    for (auto param : model.getBody().getOps<layer::ParamOp>())
      bind(param);
    if (problems)
      return emitError(model.getLoc()) << problems << (problems == 1 ? " tensor does" : " tensors do")
                                       << " not fit the model; use files and IR of one model";
    remarkUnused();
    SmallVector<StringRef> paths;
    for (const MappedFile &file : checkpoint.files())
      paths.push_back(file.path());
    model.setFilesAttr(builder.getStrArrayAttr(paths));
    return success();
  }

private:
  void bind(layer::ParamOp param);
  const StoredTensor *find(layer::ParamOp param, int64_t layer);
  void addRecipe(layer::ParamOp param, ArrayRef<DType> converted);
  void remarkUnused();

  InFlightDiagnostic problem(layer::ParamOp param) {
    ++problems;
    return emitError(param.getLoc()) << "parameter @" << param.getSymName() << " ";
  }

  layer::ModelOp model;
  const Checkpoint &checkpoint;
  Builder builder;
  llvm::StringSet<> used;
  size_t problems = 0;
};

const StoredTensor *Binder::find(layer::ParamOp param, int64_t layer) {
  auto [before, after] = param.getTensor().split("{}");
  std::string name = param.getLayers() ? (before + Twine(layer) + after).str() : param.getTensor().str();
  auto type = cast<RankedTensorType>(param.getType());
  const StoredTensor *tensor = checkpoint.find(name);
  if (!tensor) {
    problem(param) << "needs tensor '" << name << "' " << show(type.getShape()) << ", which is missing";
    return nullptr;
  }
  used.insert(name);
  if (ArrayRef<int64_t>(tensor->shape) != type.getShape()) {
    problem(param) << "needs tensor '" << name << "' of shape " << show(type.getShape()) << ", but it has "
                   << show(tensor->shape);
    return nullptr;
  }
  std::string wanted = elementName(type), stored(dtypeName(tensor->dtype));
  bool readable = isBlockQuantised(tensor->dtype) || tensor->dtype == DType::F32 ||
                  tensor->dtype == DType::F16 || tensor->dtype == DType::BF16;
  if (stored == wanted || (readable && !isa<layer::BlockType>(type.getElementType())))
    return tensor;
  problem(param) << "is " << wanted << ", but tensor '" << name << "' is stored as " << stored;
  return nullptr;
}

void Binder::bind(layer::ParamOp param) {
  SmallVector<Attribute> sources;
  llvm::SmallSetVector<DType, 2> converted;
  for (int64_t layer = 0; layer < int64_t(param.getLayers().value_or(1)); ++layer) {
    const StoredTensor *tensor = find(param, layer);
    if (!tensor)
      continue;
    std::string_view stored = dtypeName(tensor->dtype);
    if (stored != elementName(param.getType()))
      converted.insert(tensor->dtype);
    sources.push_back(layer::SourceAttr::get(param.getContext(), tensor->file, tensor->offset, tensor->bytes,
                                             StringRef(stored.data(), stored.size()), tensor->shape));
  }
  param.setSourcesAttr(builder.getArrayAttr(sources));
  addRecipe(param, converted.getArrayRef());
}

/// Puts a conversion before the steps that import wrote; no step at all is written as identity.
void Binder::addRecipe(layer::ParamOp param, ArrayRef<DType> converted) {
  SmallVector<Attribute> steps;
  if (!converted.empty()) {
    std::string wanted = elementName(param.getType());
    steps.push_back(builder.getStringAttr("widen " + wanted));
    // A converted vector is too small to speak of.
    if (cast<RankedTensorType>(param.getType()).getRank() == 2) {
      InFlightDiagnostic remark = emitRemark(param.getLoc()) << param.getTensor() << " is stored as ";
      llvm::interleave(converted, remark, [&](DType type) { remark << dtypeName(type).data(); }, " and ");
      remark << " and converted to " << wanted << " at load";
    }
  }
  if (ArrayAttr recipe = param.getRecipeAttr())
    for (Attribute step : recipe) {
      StringRef text = cast<StringAttr>(step).getValue();
      if (text != "identity" && !text.starts_with("widen "))
        steps.push_back(step);
    }
  if (steps.empty())
    steps.push_back(builder.getStringAttr("identity"));
  param.setRecipeAttr(builder.getArrayAttr(steps));
}

void Binder::remarkUnused() {
  for (const StoredTensor &tensor : checkpoint.tensors())
    if (!used.contains(StringRef(tensor.name)))
      emitRemark(model.getLoc()) << "tensor '" << tensor.name << "' is not used";
}

} // namespace

LogicalResult fusebox::bindWeights(layer::ModelOp model, const Checkpoint &checkpoint) {
  return Binder(model, checkpoint).run();
}
