#include "ir/interpreter/BoundWeights.h"

#include "ir/interpreter/Tensor.h"
#include "support/DType.h"
#include "support/Dequantise.h"

#include "llvm/ADT/DenseMap.h"

#include <memory>

using namespace fusebox;
using namespace fusebox::oracle;
using llvm::StringRef;

namespace {

/// One instance of a parameter: where it is and what becomes of it.
struct Instance {
  std::span<const std::byte> bytes;
  DType stored = DType::F32;
};

struct Binding {
  int64_t rows = 1, columns = 0;
  std::vector<Instance> instances;
  int64_t permutedHeads = 0; ///< of unpermute_rope; 0 without
  Rounding widened = Rounding::None;
};

Error bindError(layer::ParamOp param, const std::string &what) {
  return modelError("parameter @" + param.getSymName().str() + " (" + param.getTensor().str() + ") " + what);
}

/// Reads the steps of a recipe into `binding`.
Result<void> readRecipe(layer::ParamOp param, Binding &binding) {
  mlir::ArrayAttr recipe = param.getRecipeAttr();
  if (!recipe)
    return {};
  for (mlir::Attribute attribute : recipe) {
    StringRef text = llvm::cast<mlir::StringAttr>(attribute).getValue();
    auto [step, argument] = text.split(' ');
    if (step == "identity")
      continue;
    if (step == "widen") {
      binding.widened = roundingOf(llvm::cast<mlir::RankedTensorType>(param.getType()).getElementType());
      continue;
    }
    bool valid = step == "unpermute_rope" && !argument.getAsInteger(10, binding.permutedHeads) &&
                 binding.permutedHeads > 0 && binding.rows % (2 * binding.permutedHeads) == 0;
    if (!valid)
      return bindError(param, "has a recipe step that can't be run: '" + text.str() + "'");
  }
  return {};
}

Result<Binding> bindParam(layer::ParamOp param, const std::vector<std::span<const std::byte>> &files) {
  Binding binding;
  auto type = llvm::cast<mlir::RankedTensorType>(param.getType());
  binding.columns = type.getShape().back();
  binding.rows = type.getRank() == 2 ? type.getDimSize(0) : 1;
  FUSEBOX_TRY(readRecipe(param, binding));
  mlir::ArrayAttr sources = param.getSourcesAttr();
  if (!sources)
    return bindError(param, "is not bound to a file: run bind-weights first");
  for (auto source : sources.getAsRange<layer::SourceAttr>()) {
    if (source.getFile() >= files.size())
      return bindError(param, "names file " + std::to_string(source.getFile()) + " of " +
                                  std::to_string(files.size()));
    std::span<const std::byte> file = files[source.getFile()];
    if (source.getOffset() > file.size() || source.getBytes() > file.size() - source.getOffset())
      return bindError(param, "lies outside of file " + std::to_string(source.getFile()));
    std::string_view dtype(source.getDtype().data(), source.getDtype().size());
    std::optional<DType> stored = dtypeFromName(dtype);
    bool readable =
        isBlockQuantised(*stored) || *stored == DType::F32 || *stored == DType::F16 || *stored == DType::BF16;
    if (!readable)
      return bindError(param, "is stored as " + std::string(dtype) + ", which can't be read");
    BlockSize block = blockSize(*stored);
    if (source.getBytes() / block.bytes * block.elements != uint64_t(binding.rows * binding.columns) ||
        binding.columns % block.elements)
      return bindError(param, "has a source of another shape");
    binding.instances.push_back({file.subspan(source.getOffset(), source.getBytes()), *stored});
  }
  return binding;
}

/// The stored row that holds row `row` of the parameter: with unpermute_rope, the rows of a head are stored
/// as pairs.
int64_t storedRow(const Binding &binding, int64_t row) {
  if (!binding.permutedHeads)
    return row;
  int64_t head = binding.rows / binding.permutedHeads, half = head / 2, within = row % head;
  return row - within + 2 * (within % half) + within / half;
}

void readRow(const Binding &binding, const Instance &instance, int64_t row, std::span<double> out) {
  BlockSize block = blockSize(instance.stored);
  size_t bytes = size_t(binding.columns) / block.elements * block.bytes;
  std::vector<float> widened(size_t(binding.columns));
  auto stored = instance.bytes.subspan(size_t(storedRow(binding, row)) * bytes, bytes);
  auto done = dequantiseRow(instance.stored, stored, widened.size(), widened.data());
  assert(done && "binding checked type and size");
  (void)done;
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = roundTo(binding.widened, widened[i]);
}

} // namespace

Result<WeightRows> fusebox::oracle::boundWeights(layer::ModelOp model,
                                                 const std::vector<std::span<const std::byte>> &files,
                                                 std::shared_ptr<const void> owner) {
  auto bindings = std::make_shared<llvm::DenseMap<mlir::Operation *, Binding>>();
  for (auto param : model.getBody().getOps<layer::ParamOp>()) {
    FUSEBOX_ASSIGN(Binding binding, bindParam(param, files));
    bindings->try_emplace(param, std::move(binding));
  }
  return WeightRows([bindings, owner = std::move(owner)](layer::ParamOp param, int64_t layer, int64_t first,
                                                         std::span<double> out) {
    const Binding &binding = bindings->find(param)->second;
    const Instance &instance = binding.instances[param.getLayers() ? size_t(layer) : 0];
    for (int64_t r = 0; r * binding.columns < int64_t(out.size()); ++r)
      readRow(binding, instance, first + r,
              out.subspan(size_t(r * binding.columns), size_t(binding.columns)));
  });
}

Result<WeightRows> fusebox::oracle::boundWeights(layer::ModelOp model, std::vector<MappedFile> files) {
  std::vector<std::span<const std::byte>> bytes;
  for (const MappedFile &file : files)
    bytes.push_back(file.bytes());
  return boundWeights(model, bytes, std::make_shared<std::vector<MappedFile>>(std::move(files)));
}

Result<WeightRows> fusebox::oracle::boundWeights(layer::ModelOp model) {
  std::vector<MappedFile> files;
  if (mlir::ArrayAttr paths = model.getFilesAttr())
    for (auto path : paths.getAsValueRange<mlir::StringAttr>()) {
      FUSEBOX_ASSIGN(MappedFile file, MappedFile::open(path.str()));
      files.push_back(std::move(file));
    }
  return boundWeights(model, std::move(files));
}
