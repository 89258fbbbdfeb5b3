// The text of weight recipes.
#include "codegen/plan/Recipes.h"

#include <gtest/gtest.h>

using namespace fusebox;

namespace {

std::optional<uint32_t> lookup(std::string_view name) {
  return name == "scales" ? std::optional<uint32_t>(3) : std::nullopt;
}

TEST(RecipeStep, ReadsNamesTypesNumbersAndConstants) {
  auto widen = parseRecipeStep("widen bf16", lookup);
  ASSERT_TRUE(widen) << widen.error().message;
  EXPECT_EQ(widen->kind, plan::RecipeOpKind::Widen);
  EXPECT_EQ(widen->args, std::vector<int64_t>{int64_t(DType::BF16)});
  auto slice = parseRecipeStep("slice 64 128", lookup);
  ASSERT_TRUE(slice) << slice.error().message;
  EXPECT_EQ(slice->args, (std::vector<int64_t>{64, 128}));
  auto scale = parseRecipeStep("scale @scales", lookup);
  ASSERT_TRUE(scale) << scale.error().message;
  EXPECT_EQ(scale->args, std::vector<int64_t>{3});
}

TEST(RecipeStep, RefusesWhatNoRuntimeKnows) {
  for (const char *text :
       {"", "fold 1", "widen", "widen q9", "slice 1", "scale @nothing", "add_one 1", "slice 1 2x"}) {
    auto step = parseRecipeStep(text, lookup);
    ASSERT_FALSE(step) << text;
    EXPECT_EQ(step.error().kind, ErrorKind::Model);
  }
}

} // namespace
