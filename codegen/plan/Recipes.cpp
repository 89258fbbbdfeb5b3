#include "codegen/plan/Recipes.h"

#include <charconv>
#include <string>
#include <vector>

using namespace fusebox;

namespace {

struct Step {
  std::string_view name;
  plan::RecipeOpKind kind;
  size_t args;
};
constexpr Step steps[] = {
    {"widen", plan::RecipeOpKind::Widen, 1},
    {"unpermute_rope", plan::RecipeOpKind::UnpermuteRope, 1},
    {"concatenate", plan::RecipeOpKind::Concatenate, 0},
    {"interleave", plan::RecipeOpKind::Interleave, 1},
    {"slice", plan::RecipeOpKind::Slice, 2},
    {"repack", plan::RecipeOpKind::Repack, 1},
    {"scale", plan::RecipeOpKind::Scale, 1},
    {"add_one", plan::RecipeOpKind::AddOne, 0},
};

std::vector<std::string_view> words(std::string_view text) {
  std::vector<std::string_view> found;
  while (!text.empty()) {
    size_t end = text.find(' ');
    if (end != 0)
      found.push_back(text.substr(0, end));
    text = end == text.npos ? std::string_view() : text.substr(end + 1);
  }
  return found;
}

} // namespace

Result<plan::RecipeOp>
fusebox::parseRecipeStep(std::string_view text,
                         const std::function<std::optional<uint32_t>(std::string_view)> &lookup) {
  std::vector<std::string_view> parts = words(text);
  const Step *step = nullptr;
  for (const Step &known : steps)
    if (!parts.empty() && known.name == parts[0])
      step = &known;
  if (!step || parts.size() != step->args + 1)
    return modelError("recipe step '" + std::string(text) +
                      "' is unknown or has the wrong number of arguments");
  plan::RecipeOp op = {step->kind, {}};
  for (size_t i = 1; i < parts.size(); ++i) {
    int64_t number = 0;
    auto [end, failed] = std::from_chars(parts[i].data(), parts[i].data() + parts[i].size(), number);
    if (auto dtype = dtypeFromName(parts[i]))
      number = int64_t(*dtype);
    else if (parts[i].starts_with('@') && lookup(parts[i].substr(1)))
      number = *lookup(parts[i].substr(1));
    else if (failed != std::errc() || end != parts[i].data() + parts[i].size())
      return modelError("recipe step '" + std::string(text) + "': '" + std::string(parts[i]) +
                        "' is no number, element type or constant");
    op.args.push_back(number);
  }
  return op;
}
