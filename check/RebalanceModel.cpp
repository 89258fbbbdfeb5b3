// Writing a rebalanced model.
#include "check/Rebalance.h"

#include "frontends/LoadModel.h"
#include "frontends/Resolve.h"
#include "passes/analysis/Analysis.h"
#include "passes/analysis/FactsFromModel.h"
#include "support/ContentHash.h"
#include "support/Float.h"
#include "support/SafetensorsWriter.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <map>

using namespace fusebox;
namespace fs = std::filesystem;

namespace {

/// One stored value times 2^exponent, in place. Exact, or false.
bool scaleValue(std::byte *at, DType type, int exponent, GainConvention convention) {
  auto apply = [&](double value) {
    double gain = convention == GainConvention::OnePlus ? 1 + value : value;
    double moved = std::ldexp(gain, exponent);
    return convention == GainConvention::OnePlus ? moved - 1 : moved;
  };
  uint16_t half;
  float single;
  switch (type) {
  case DType::BF16:
    std::memcpy(&half, at, 2);
    single = float(apply(double(bf16ToF32(half))));
    half = f32ToBf16(single);
    std::memcpy(at, &half, 2);
    return bf16ToF32(half) == single && (single == 0 || std::fabs(single) >= 0x1p-126f);
  case DType::F16:
    std::memcpy(&half, at, 2);
    single = float(apply(double(f16ToF32(half))));
    half = f32ToF16(single);
    std::memcpy(at, &half, 2);
    return f16ToF32(half) == single && (single == 0 || std::fabs(single) >= 0x1p-14f);
  case DType::F32: {
    std::memcpy(&single, at, 4);
    double moved = apply(double(single));
    single = float(moved);
    std::memcpy(at, &single, 4);
    return double(single) == moved && (single == 0 || std::fabs(single) >= 0x1p-126f);
  }
  default:
    return false;
  }
}

/// Edited copies of tensors, by index into the checkpoint.
class Editor {
public:
  Editor(const LoadedModel &model, const Balance &balance) : model(model), balance(balance) {}

  /// Multiplies the rows (or elements) of a role's tensors by their exponents, `sign` +1 for q and -1 for k.
  Result<void> scale(std::string_view role, int sign) {
    if (!model.spec.findParameter(role))
      return {};
    for (int64_t layer = 0; layer < model.spec.layers; ++layer)
      FUSEBOX_TRY(scaleTensor(role, sign, layer));
    return {};
  }
  std::map<std::string, std::vector<std::byte>> edited;

private:
  Result<void> scaleTensor(std::string_view role, int sign, int64_t layer) {
    const StoredTensor *tensor = model.find(role, layer);
    bool isNorm = role.ends_with("_norm");
    std::span<const std::byte> stored = model.checkpoint.data(*tensor);
    std::vector<std::byte> bytes(stored.begin(), stored.end());
    int64_t rows = tensor->shape.front(), perRow = tensor->elements() / rows;
    size_t size = bytes.size() / size_t(tensor->elements());
    GainConvention convention = isNorm ? model.spec.norm.gain : GainConvention::Plain;
    bool changed = false;
    for (int64_t row = 0; row < rows; ++row) {
      int exponent = sign * exponentOf(row, rows, sign, layer);
      if (exponent == 0)
        continue;
      changed = true;
      for (int64_t i = 0; i < perRow; ++i)
        if (!scaleValue(bytes.data() + size_t(row * perRow + i) * size, tensor->dtype, exponent, convention))
          return modelError(
              fmt::format("{}: tensor '{}' can't hold {} times 2^{} exactly; the model is left as it is",
                          model.spec.source, tensor->name, role, exponent));
    }
    if (changed)
      edited[tensor->name] = std::move(bytes);
    return {};
  }

  int exponentOf(int64_t row, int64_t rows, int sign, int64_t layer) const {
    const LayerBalance &balanced = balance.layers[size_t(layer)];
    int64_t d = model.spec.headDim, head = row / d;
    int64_t groups = int64_t(balanced.exponents.size()),
            headsPerGroup = std::max<int64_t>(rows / d / groups, 1);
    return balanced.exponents[size_t(head / headsPerGroup)][size_t(row % d)];
  }

  const LoadedModel &model;
  const Balance &balance;
};

Result<void> writeFiles(const LoadedModel &model, const Editor &editor, const std::string &out) {
  const Checkpoint &checkpoint = model.checkpoint;
  for (size_t f = 0; f < checkpoint.files().size(); ++f) {
    std::vector<TensorToWrite> tensors;
    for (const StoredTensor &tensor : checkpoint.tensors()) {
      if (tensor.file != f)
        continue;
      auto edited = editor.edited.find(tensor.name);
      std::span<const std::byte> bytes = checkpoint.data(tensor);
      if (edited != editor.edited.end())
        bytes = edited->second;
      tensors.push_back({tensor.name, tensor.dtype, tensor.shape, bytes});
    }
    std::string name = fs::path(checkpoint.files()[f].path()).filename().string();
    std::pair<std::string, std::string> metadata[] = {{"format", "pt"}};
    FUSEBOX_TRY(writeSafetensors((fs::path(out) / name).string(), tensors, metadata));
  }
  return {};
}

/// Tokenizer, configuration and whatever else lies beside the weights.
Result<void> copyOthers(const std::string &from, const std::string &to) {
  std::error_code failure;
  for (fs::directory_iterator entry(from, failure), end; !failure && entry != end; entry.increment(failure)) {
    if (!entry->is_regular_file() || entry->path().extension() == ".safetensors")
      continue;
    std::error_code copying;
    fs::copy_file(entry->path(), fs::path(to) / entry->path().filename(),
                  fs::copy_options::overwrite_existing, copying);
    if (copying)
      return resourceError((fs::path(to) / entry->path().filename()).string() + ": " + copying.message());
  }
  return {};
}

Result<void> checkTarget(const std::string &path, const std::string &out) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored))
    return usageError(path +
                      ": only a folder of safetensors files can be rebalanced; convert the model first");
  if (fs::exists(fs::path(out) / "config.json", ignored))
    return usageError(out + ": holds a model already; give a new folder");
  if (!makeFolders(out))
    return resourceError(out + ": the folder can't be made");
  return {};
}

} // namespace

Result<RebalanceResult> fusebox::rebalanceModel(const std::string &name, const std::string &out,
                                                const HeuristicLimits &limits) {
  FUSEBOX_ASSIGN(std::string path, resolveModel(name));
  FUSEBOX_ASSIGN(LoadedModel model, loadModel(path));
  FUSEBOX_TRY(checkTarget(path, out));
  FUSEBOX_ASSIGN(ModelFacts facts, factsFromModel(model, name));
  RebalanceResult result;
  bool normed = facts.qkNorm != QkNorm::None;
  result.balance = levelModel(facts, measureWeights(facts, analysisThreads(0)));
  result.before = scoreHeuristic(facts, limits);
  result.after = heuristicAfter(facts, result.balance, limits);
  if (result.balance.held() != 0)
    result.note = fmt::format(
        "{} rotary pairs stay as they are: their stored gain{} can't hold the multiple exactly",
        result.balance.held(), facts.gainConvention == GainConvention::OnePlus ? ", kept less 1," : "");
  Editor editor(model, result.balance);
  for (std::string_view role :
       normed ? std::vector<std::string_view>{"q_norm"} : std::vector<std::string_view>{"q", "q_bias"})
    FUSEBOX_TRY(editor.scale(role, 1));
  for (std::string_view role :
       normed ? std::vector<std::string_view>{"k_norm"} : std::vector<std::string_view>{"k", "k_bias"})
    FUSEBOX_TRY(editor.scale(role, -1));
  FUSEBOX_TRY(writeFiles(model, editor, out));
  // The configuration comes last: a folder without it is no model yet.
  FUSEBOX_TRY(copyOthers(path, out));
  return result;
}
