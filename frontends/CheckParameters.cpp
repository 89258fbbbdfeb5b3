#include "frontends/CheckParameters.h"

#include <set>

using namespace fusebox;

namespace {

/// Problems beyond this many are counted, not listed.
constexpr size_t maxListed = 40;

std::string show(const std::vector<int64_t> &shape) {
  std::string text = "[";
  for (size_t axis = 0; axis < shape.size(); ++axis)
    text += (axis ? ", " : "") + std::to_string(shape[axis]);
  return text + "]";
}

bool acceptedType(const ParamSpec &parameter, DType type) {
  bool plain = type == DType::F32 || type == DType::F16 || type == DType::BF16;
  return plain || (parameter.shape.size() == 2 && isBlockQuantised(type));
}

/// Whether `name` is `pattern` with a layer's index for {}.
bool matchesPattern(const std::string &name, const std::string &pattern) {
  size_t place = pattern.find("{}");
  if (place == std::string::npos)
    return name == pattern;
  std::string_view before(pattern.data(), place),
      after(pattern.data() + place + 2, pattern.size() - place - 2);
  if (name.size() <= before.size() + after.size() || !name.starts_with(before) || !name.ends_with(after))
    return false;
  std::string_view index(name.data() + before.size(), name.size() - before.size() - after.size());
  return index.find_first_not_of("0123456789") == std::string_view::npos;
}

/// Looks every parameter up and gathers what is wrong.
class Checker {
public:
  Checker(const ModelSpec &spec, const Checkpoint &checkpoint) : spec(spec), checkpoint(checkpoint) {}

  std::vector<BoundParameter> bind() {
    std::vector<BoundParameter> bound;
    for (size_t index = 0; index < spec.parameters.size(); ++index) {
      const ParamSpec &parameter = spec.parameters[index];
      BoundParameter entry{.parameter = index, .tensors = {}};
      for (int64_t layer = 0; layer < (parameter.perLayer ? spec.layers : 1); ++layer) {
        if (const StoredTensor *tensor = check(parameter, parameter.nameAt(layer)))
          entry.tensors.push_back(size_t(tensor - checkpoint.tensors().data()));
      }
      bound.push_back(std::move(entry));
    }
    return bound;
  }

  void findUnknown(const std::vector<std::string> &ignored) {
    for (const StoredTensor &tensor : checkpoint.tensors()) {
      bool known = used.count(tensor.name) != 0;
      for (const std::string &pattern : ignored)
        known |= matchesPattern(tensor.name, pattern);
      if (!known)
        add("'" + tensor.name + "' " + show(tensor.shape) + " is unknown to the family '" + spec.family +
            "'");
    }
  }

  Result<void> verdict() const {
    if (problems == 0)
      return {};
    std::string more =
        problems > maxListed ? "\n  and " + std::to_string(problems - maxListed) + " more" : "";
    return modelError(checkpoint.files().front().path() + ": " + std::to_string(problems) +
                      (problems == 1 ? " tensor does" : " tensors do") + " not fit " + spec.source +
                      "; fetch files of one revision of the model:" + listed + more);
  }

private:
  void add(const std::string &problem) {
    if (++problems <= maxListed)
      listed += "\n  " + problem;
  }

  const StoredTensor *check(const ParamSpec &parameter, const std::string &name) {
    const StoredTensor *tensor = checkpoint.find(name);
    if (!tensor) {
      add("'" + name + "' " + show(parameter.shape) + " is missing");
      return nullptr;
    }
    used.insert(tensor->name);
    if (tensor->shape != parameter.shape) {
      add("'" + name + "' has the shape " + show(tensor->shape) + ", " + show(parameter.shape) +
          " was expected");
      return nullptr;
    }
    if (!acceptedType(parameter, tensor->dtype)) {
      add("'" + name + "' has the type " + std::string(dtypeName(tensor->dtype)) + ", f32, f16 or bf16" +
          (parameter.shape.size() == 2 ? " or a GGUF block type" : "") + " was expected");
      return nullptr;
    }
    return tensor;
  }

  const ModelSpec &spec;
  const Checkpoint &checkpoint;
  std::set<std::string_view> used;
  std::string listed;
  size_t problems = 0;
};

} // namespace

Result<std::vector<BoundParameter>> fusebox::checkParameters(const ModelSpec &spec,
                                                             const Checkpoint &checkpoint,
                                                             const std::vector<std::string> &ignored) {
  Checker checker(spec, checkpoint);
  std::vector<BoundParameter> bound = checker.bind();
  checker.findUnknown(ignored);
  FUSEBOX_TRY(checker.verdict());
  return bound;
}
