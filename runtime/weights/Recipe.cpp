#include "runtime/weights/Recipe.h"

#include "runtime/plan/ProgramCheck.h"
#include "support/Dequantise.h"
#include "support/Float.h"

#include <cassert>
#include <cstring>

using namespace fusebox;
using namespace fusebox::plan;

namespace {

/// Rows of a tensor seen as a matrix: all dimensions but the last.
int64_t rowsOf(const TensorForm &form) {
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < form.shape.size(); ++i)
    rows *= form.shape[i];
  return rows;
}
int64_t columnsOf(const TensorForm &form) { return form.shape.empty() ? 1 : form.shape.back(); }
uint64_t bytesOf(const TensorForm &form) { return *tensorBytes(form.dtype, form.shape); }
uint64_t rowBytesOf(const TensorForm &form) { return bytesOf(form) / uint64_t(rowsOf(form)); }

bool isFloat(DType type) { return type == DType::F32 || type == DType::F16 || type == DType::BF16; }

/// The heads of source `index` in UnpermuteRope's arguments: one value serves all sources, else one each.
int64_t headsOf(const RecipeOp &op, size_t index) {
  return op.args.size() == 1 ? op.args[0] : op.args[index];
}

//===-- Forms: what each op makes of dtype and shape
//---------------------------------------------------------===//

using Forms = std::vector<TensorForm>;

Result<void> widenForms(const RecipeOp &op, Forms &forms) {
  if (op.args.size() != 1 || (DType(op.args[0]) != DType::F32 && DType(op.args[0]) != DType::BF16))
    return modelError("widens to f32 or bf16 only");
  for (TensorForm &form : forms) {
    if (!isFloat(form.dtype) && !isBlockQuantised(form.dtype))
      return modelError("can't widen " + std::string(dtypeName(form.dtype)));
    form.dtype = DType(op.args[0]);
  }
  return {};
}

Result<void> unpermuteForms(const RecipeOp &op, const Forms &forms) {
  if (op.args.size() != 1 && op.args.size() != forms.size())
    return modelError("takes one number of heads, or one for each source");
  for (size_t i = 0; i < forms.size(); ++i) {
    int64_t heads = headsOf(op, i), rows = forms[i].shape.empty() ? 0 : forms[i].shape[0];
    if (heads < 0 || (heads > 0 && (rows % heads != 0 || rows / heads % 2 != 0)))
      return modelError("rows " + std::to_string(rows) + " don't split into " + std::to_string(heads) +
                        " heads of even size");
  }
  return {};
}

/// Concatenate and Interleave: the sum of the outermost dimensions; all else must agree.
Result<void> joinForms(const RecipeOp &op, Forms &forms) {
  TensorForm joined = forms[0];
  if (joined.shape.empty())
    return modelError("joins tensors of at least one dimension");
  bool interleave = op.kind == RecipeOpKind::Interleave;
  int64_t group = interleave && op.args.size() == 1 ? op.args[0] : 0;
  if (interleave && (group <= 0 || joined.shape[0] % group != 0))
    return modelError("rows " + std::to_string(joined.shape[0]) + " are not a multiple of the group");
  for (size_t i = 1; i < forms.size(); ++i) {
    TensorForm next = forms[i];
    int64_t rows = next.shape.empty() ? 0 : next.shape[0];
    if (interleave && rows != forms[0].shape[0])
      return modelError("interleaved sources must have the same number of rows");
    if (next.shape.empty() || __builtin_add_overflow(joined.shape[0], rows, &joined.shape[0]))
      return modelError("joins tensors of at least one dimension");
    next.shape[0] = forms[0].shape[0];
    if (next.dtype != forms[0].dtype || next.shape != forms[0].shape)
      return modelError("sources differ in dtype or row shape");
  }
  forms = {joined};
  return {};
}

Result<void> sliceForms(const RecipeOp &op, Forms &forms) {
  for (TensorForm &form : forms) {
    int64_t rows = form.shape.empty() ? 0 : form.shape[0];
    if (op.args.size() != 2 || op.args[0] < 0 || op.args[1] <= 0 || op.args[0] > rows ||
        op.args[1] > rows - op.args[0])
      return modelError("rows lie outside the tensor's " + std::to_string(rows));
    form.shape[0] = op.args[1];
  }
  return {};
}

Result<void> scaleForms(const Program &program, const RecipeOp &op, const Forms &forms) {
  for (const TensorForm &form : forms) {
    if (!isFloat(form.dtype))
      return modelError("scales f32, f16 and bf16 only, not " + std::string(dtypeName(form.dtype)));
    if (program.constants[size_t(op.args[0])].bytes.size() != uint64_t(rowsOf(form)) * sizeof(float))
      return modelError("the constant must hold one f32 for each of the " + std::to_string(rowsOf(form)) +
                        " rows");
  }
  return {};
}

Result<void> applyForm(const Program &program, const RecipeOp &op, Forms &forms) {
  switch (op.kind) {
  case RecipeOpKind::Widen:
    return widenForms(op, forms);
  case RecipeOpKind::UnpermuteRope:
    return unpermuteForms(op, forms);
  case RecipeOpKind::Concatenate:
  case RecipeOpKind::Interleave:
    return joinForms(op, forms);
  case RecipeOpKind::Slice:
    return sliceForms(op, forms);
  case RecipeOpKind::Repack:
    return modelError("this program knows no layout " + (op.args.empty() ? "" : std::to_string(op.args[0])));
  case RecipeOpKind::Scale:
    return scaleForms(program, op, forms);
  case RecipeOpKind::AddOne:
    for (TensorForm &form : forms) {
      if (!isFloat(form.dtype))
        return modelError("adds to f32, f16 and bf16 only, not " + std::string(dtypeName(form.dtype)));
      form.dtype = DType::F32;
    }
    return {};
  }
  return {};
}

//===-- Values
//------------------------------------------------------------------------------------------------===//

/// A tensor on its way: bytes in the file, or its own.
struct Tensor {
  TensorForm form;
  std::span<const std::byte> bytes;
  std::vector<std::byte> owned;

  void replace(TensorForm newForm, std::vector<std::byte> newBytes) {
    form = std::move(newForm);
    owned = std::move(newBytes);
    bytes = owned;
  }
};

Result<void> convert(Tensor &tensor, DType to) {
  if (tensor.form.dtype == to)
    return {};
  TensorForm form = tensor.form;
  form.dtype = to;
  std::vector<std::byte> out(bytesOf(form));
  size_t columns = size_t(columnsOf(form));
  uint64_t rowBytes = rowBytesOf(tensor.form);
  std::vector<float> row(columns);
  for (int64_t r = 0; r < rowsOf(form); ++r) {
    auto stored = tensor.bytes.subspan(uint64_t(r) * rowBytes, rowBytes);
    FUSEBOX_TRY(dequantiseRow(tensor.form.dtype, stored, columns, row.data()));
    if (to == DType::F32) {
      std::memcpy(out.data() + size_t(r) * columns * sizeof(float), row.data(), columns * sizeof(float));
      continue;
    }
    auto *rounded = reinterpret_cast<uint16_t *>(out.data()) + size_t(r) * columns;
    for (size_t c = 0; c < columns; ++c)
      rounded[c] = f32ToBf16(row[c]);
  }
  tensor.replace(std::move(form), std::move(out));
  return {};
}

/// Within a head of size d, stored row 2j + i is wanted as row i·d/2 + j (GGUF's order for interleaved RoPE).
void unpermute(Tensor &tensor, int64_t heads) {
  if (heads == 0)
    return;
  std::vector<std::byte> out(tensor.bytes.size());
  uint64_t rows = uint64_t(tensor.form.shape[0]), rowBytes = tensor.bytes.size() / rows;
  uint64_t size = rows / uint64_t(heads), half = size / 2;
  for (uint64_t row = 0; row < rows; ++row) {
    uint64_t head = row / size, j = row % size / 2, i = row % 2;
    uint64_t target = head * size + i * half + j;
    std::memcpy(out.data() + target * rowBytes, tensor.bytes.data() + row * rowBytes, rowBytes);
  }
  tensor.replace(tensor.form, std::move(out));
}

/// Groups of `group` outermost rows of each source in turn; Concatenate is one group of all rows.
void join(std::vector<Tensor> &tensors, TensorForm joined, const RecipeOp &op) {
  std::vector<std::byte> out;
  out.reserve(bytesOf(joined));
  uint64_t groups = op.kind == RecipeOpKind::Interleave ? uint64_t(tensors[0].form.shape[0] / op.args[0]) : 1;
  for (uint64_t g = 0; g < groups; ++g)
    for (const Tensor &tensor : tensors) {
      uint64_t groupBytes = tensor.bytes.size() / groups;
      auto part = tensor.bytes.subspan(g * groupBytes, groupBytes);
      out.insert(out.end(), part.begin(), part.end());
    }
  tensors.resize(1);
  tensors[0].replace(std::move(joined), std::move(out));
}

void slice(Tensor &tensor, int64_t first, int64_t count) {
  uint64_t rowBytes = tensor.bytes.size() / uint64_t(tensor.form.shape[0]);
  tensor.bytes = tensor.bytes.subspan(uint64_t(first) * rowBytes, uint64_t(count) * rowBytes);
  tensor.form.shape[0] = count;
}

template <typename Element, typename Map> void mapElements(Tensor &tensor, Map &&map) {
  std::vector<std::byte> out(tensor.bytes.begin(), tensor.bytes.end());
  auto *values = reinterpret_cast<Element *>(out.data());
  size_t columns = size_t(columnsOf(tensor.form));
  for (size_t i = 0; i < out.size() / sizeof(Element); ++i)
    values[i] = map(values[i], i / columns);
  tensor.replace(tensor.form, std::move(out));
}

void scaleRows(Tensor &tensor, const Constant &constant) {
  auto factor = [&](size_t row) {
    float value;
    std::memcpy(&value, constant.bytes.data() + row * sizeof(float), sizeof(float));
    return value;
  };
  if (tensor.form.dtype == DType::F32)
    mapElements<float>(tensor, [&](float v, size_t row) { return v * factor(row); });
  else if (tensor.form.dtype == DType::BF16)
    mapElements<uint16_t>(tensor,
                          [&](uint16_t v, size_t row) { return f32ToBf16(bf16ToF32(v) * factor(row)); });
  else
    mapElements<uint16_t>(tensor,
                          [&](uint16_t v, size_t row) { return f32ToF16(f16ToF32(v) * factor(row)); });
}

Result<void> apply(const Program &program, const RecipeOp &op, std::vector<Tensor> &tensors) {
  if (op.kind == RecipeOpKind::Concatenate || op.kind == RecipeOpKind::Interleave) {
    Forms forms;
    for (const Tensor &tensor : tensors)
      forms.push_back(tensor.form);
    FUSEBOX_TRY(joinForms(op, forms));
    join(tensors, forms[0], op);
    return {};
  }
  for (size_t i = 0; i < tensors.size(); ++i) {
    switch (op.kind) {
    case RecipeOpKind::Widen:
      FUSEBOX_TRY(convert(tensors[i], DType(op.args[0])));
      break;
    case RecipeOpKind::UnpermuteRope:
      unpermute(tensors[i], headsOf(op, i));
      break;
    case RecipeOpKind::Slice:
      slice(tensors[i], op.args[0], op.args[1]);
      break;
    case RecipeOpKind::Scale:
      scaleRows(tensors[i], program.constants[size_t(op.args[0])]);
      break;
    case RecipeOpKind::AddOne:
      FUSEBOX_TRY(convert(tensors[i], DType::F32));
      mapElements<float>(tensors[i], [](float v, size_t) { return 1 + v; });
      break;
    default:
      return internalError("recipe op without an implementation");
    }
  }
  return {};
}

} // namespace

static std::string_view opName(RecipeOpKind kind) {
  switch (kind) {
  case RecipeOpKind::Widen:
    return "widen";
  case RecipeOpKind::UnpermuteRope:
    return "unpermute-rope";
  case RecipeOpKind::Concatenate:
    return "concatenate";
  case RecipeOpKind::Interleave:
    return "interleave";
  case RecipeOpKind::Slice:
    return "slice";
  case RecipeOpKind::Repack:
    return "repack";
  case RecipeOpKind::Scale:
    return "scale";
  case RecipeOpKind::AddOne:
    return "add-one";
  }
  return "unknown";
}

static Result<void> checkRecipe(const Program &program, const Weight &weight) {
  std::string where = "weight " + weight.name + ": recipe: ";
  for (const WeightInstance &instance : weight.instances) {
    Forms forms;
    for (const WeightSource &source : instance.sources)
      forms.push_back({source.dtype, source.shape});
    for (const RecipeOp &op : weight.recipe) {
      auto applied = applyForm(program, op, forms);
      if (!applied)
        return modelError(where + std::string(opName(op.kind)) + ": " + applied.error().message);
      for (const TensorForm &form : forms)
        if (!tensorBytes(form.dtype, form.shape))
          return modelError(where + std::string(opName(op.kind)) + ": the result is no tensor");
    }
    if (forms.size() != 1)
      return modelError(where + "leaves " + std::to_string(forms.size()) + " tensors, one is expected");
    if (forms[0].dtype != weight.dtype || bytesOf(forms[0]) != weight.bytes)
      return modelError(where + "gives " + std::to_string(bytesOf(forms[0])) + " bytes of " +
                        std::string(dtypeName(forms[0].dtype)) + ", expected " +
                        std::to_string(weight.bytes) + " of " + std::string(dtypeName(weight.dtype)));
  }
  return {};
}

Result<void> fusebox::checkRecipes(const Program &program) {
  for (const Weight &weight : program.weights)
    FUSEBOX_TRY(checkRecipe(program, weight));
  return {};
}

Result<void> fusebox::runRecipe(const Program &program, const Weight &weight, const WeightInstance &instance,
                                std::span<const std::span<const std::byte>> sources,
                                std::span<std::byte> out) {
  std::vector<Tensor> tensors;
  for (size_t i = 0; i < sources.size(); ++i)
    tensors.push_back({{instance.sources[i].dtype, instance.sources[i].shape}, sources[i], {}});
  for (const RecipeOp &op : weight.recipe)
    FUSEBOX_TRY(apply(program, op, tensors));
  assert(tensors.size() == 1 && tensors[0].bytes.size() == out.size() && "checkRecipes saw to it");
  std::memcpy(out.data(), tensors[0].bytes.data(), out.size());
  return {};
}
