#include "runtime/weights/Recipe.h"

#include "support/Float.h"

#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace fusebox;
using namespace fusebox::plan;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

/// A weight with one instance, its sources' bytes, and the checked and executed recipe.
struct Case {
  Program program;
  Weight weight;
  std::vector<std::vector<std::byte>> sources;

  Case() {
    weight.name = "w";
    weight.instances.resize(1);
  }
  template <typename T> Case &source(DType dtype, std::vector<int64_t> shape, std::vector<T> values) {
    auto bytes = std::as_bytes(std::span(values));
    sources.emplace_back(bytes.begin(), bytes.end());
    weight.instances[0].sources.push_back({0, 0, bytes.size(), dtype, shape});
    return *this;
  }
  Case &op(RecipeOpKind kind, std::vector<int64_t> args = {}) {
    weight.recipe.push_back({kind, args});
    return *this;
  }
  Case &result(DType dtype, uint64_t bytes) {
    weight.dtype = dtype;
    weight.bytes = bytes;
    return *this;
  }
  Result<void> check() {
    program.weights = {weight};
    return checkRecipes(program);
  }
  template <typename T> std::vector<T> run() {
    auto checked = check();
    EXPECT_TRUE(checked) << checked.error().message;
    if (!checked)
      return {};
    std::vector<std::span<const std::byte>> spans(sources.begin(), sources.end());
    std::vector<std::byte> out(weight.bytes);
    auto done = runRecipe(program, weight, weight.instances[0], spans, out);
    EXPECT_TRUE(done) << done.error().message;
    std::vector<T> values(out.size() / sizeof(T));
    std::memcpy(values.data(), out.data(), out.size());
    return values;
  }
  std::string error() {
    auto checked = check();
    EXPECT_FALSE(checked);
    return checked ? "" : checked.error().message;
  }
};

} // namespace

TEST(Recipe, WidenRoundsOnceToNearestEven) {
  float tie = 1 + 0x1p-8f, above = 1 + 0x1p-8f + 0x1p-20f;
  Case c;
  c.source<float>(DType::F32, {2, 1}, {tie, above}).op(RecipeOpKind::Widen, {int64_t(DType::BF16)});
  EXPECT_THAT(c.result(DType::BF16, 4).run<uint16_t>(), ElementsAre(f32ToBf16(1), f32ToBf16(1 + 0x1p-7f)));
}

TEST(Recipe, WidenIsExactFromNarrowTypes) {
  Case c;
  c.source<uint16_t>(DType::F16, {3}, {f32ToF16(0.1f), f32ToF16(-65504), 1})
      .op(RecipeOpKind::Widen, {int64_t(DType::F32)});
  EXPECT_THAT(c.result(DType::F32, 12).run<float>(), ElementsAre(f16ToF32(f32ToF16(0.1f)), -65504, 0x1p-24f));
}

TEST(Recipe, WidenReadsQuantisedBlocks) {
  std::vector<uint8_t> block(34);
  uint16_t scale = f32ToF16(0.5f);
  std::memcpy(block.data(), &scale, 2);
  for (int i = 0; i < 32; ++i)
    block[size_t(2 + i)] = uint8_t(i - 16);
  Case c;
  c.source<uint8_t>(DType::Q8_0, {1, 32}, block).op(RecipeOpKind::Widen, {int64_t(DType::BF16)});
  auto values = c.result(DType::BF16, 64).run<uint16_t>();
  ASSERT_EQ(values.size(), 32u);
  for (int i = 0; i < 32; ++i)
    EXPECT_EQ(bf16ToF32(values[size_t(i)]), 0.5f * float(i - 16));
}

TEST(Recipe, UnpermuteRopePutsPairsInHalves) {
  // Two heads of four rows; stored row 2j + i of a head is row i·2 + j.
  Case c;
  c.source<float>(DType::F32, {8, 1}, {0, 2, 1, 3, 10, 12, 11, 13}).op(RecipeOpKind::UnpermuteRope, {2});
  EXPECT_THAT(c.result(DType::F32, 32).run<float>(), ElementsAre(0, 1, 2, 3, 10, 11, 12, 13));
}

TEST(Recipe, UnpermuteRopeTakesHeadsBySource) {
  Case c;
  c.source<float>(DType::F32, {4, 1}, {0, 2, 1, 3}).source<float>(DType::F32, {4, 1}, {5, 6, 7, 8});
  c.op(RecipeOpKind::UnpermuteRope, {1, 0}).op(RecipeOpKind::Concatenate);
  EXPECT_THAT(c.result(DType::F32, 32).run<float>(), ElementsAre(0, 1, 2, 3, 5, 6, 7, 8));
}

TEST(Recipe, InterleaveTakesRowsInTurn) {
  Case c;
  c.source<float>(DType::F32, {4, 1}, {0, 1, 2, 3}).source<float>(DType::F32, {4, 1}, {10, 11, 12, 13});
  c.op(RecipeOpKind::Interleave, {2}).result(DType::F32, 32);
  EXPECT_THAT(c.run<float>(), ElementsAre(0, 1, 10, 11, 2, 3, 12, 13));
}

TEST(Recipe, ConcatenateTakesUnequalSources) {
  Case c;
  c.source<float>(DType::F32, {1, 2}, {0, 1}).source<float>(DType::F32, {2, 2}, {2, 3, 4, 5});
  EXPECT_THAT(c.op(RecipeOpKind::Concatenate).result(DType::F32, 24).run<float>(),
              ElementsAre(0, 1, 2, 3, 4, 5));
}

TEST(Recipe, SliceTakesRows) {
  Case c;
  c.source<float>(DType::F32, {3, 2}, {0, 1, 2, 3, 4, 5}).op(RecipeOpKind::Slice, {1, 2});
  EXPECT_THAT(c.result(DType::F32, 16).run<float>(), ElementsAre(2, 3, 4, 5));
}

TEST(Recipe, ScaleMultipliesRows) {
  Case c;
  float factors[] = {0.5f, 4};
  auto bytes = std::as_bytes(std::span(factors));
  c.program.constants = {{"s", {bytes.begin(), bytes.end()}}};
  c.source<uint16_t>(DType::BF16, {2, 2}, {f32ToBf16(1), f32ToBf16(3), f32ToBf16(5), f32ToBf16(-7)});
  c.op(RecipeOpKind::Scale, {0}).result(DType::BF16, 8);
  EXPECT_THAT(c.run<uint16_t>(),
              ElementsAre(f32ToBf16(0.5f), f32ToBf16(1.5f), f32ToBf16(20), f32ToBf16(-28)));
}

TEST(Recipe, AddOneGivesF32) {
  Case c;
  c.source<uint16_t>(DType::BF16, {2}, {f32ToBf16(0.25f), f32ToBf16(-1)}).op(RecipeOpKind::AddOne);
  EXPECT_THAT(c.result(DType::F32, 8).run<float>(), ElementsAre(1.25f, 0));
}

TEST(Recipe, MistakesAreNamed) {
  auto two = [] {
    Case c;
    c.source<float>(DType::F32, {2, 1}, {0, 1}).source<float>(DType::F32, {1, 2}, {0, 1});
    return c;
  };
  auto one = [] {
    Case c;
    c.source<float>(DType::F32, {2, 1}, {0, 1});
    return c;
  };
  EXPECT_THAT(two().result(DType::F32, 16).error(), HasSubstr("weight w: recipe: leaves 2 tensors"));
  EXPECT_THAT(two().op(RecipeOpKind::Concatenate).error(), HasSubstr("differ in dtype or row shape"));
  EXPECT_THAT(two().op(RecipeOpKind::Interleave, {1}).error(), HasSubstr("same number of rows"));
  EXPECT_THAT(one().op(RecipeOpKind::Interleave, {3}).error(), HasSubstr("multiple of the group"));
  EXPECT_THAT(one().op(RecipeOpKind::Interleave).error(), HasSubstr("multiple of the group"));
  EXPECT_THAT(one().op(RecipeOpKind::Slice, {1, 2}).error(), HasSubstr("outside the tensor's 2"));
  EXPECT_THAT(one().op(RecipeOpKind::Slice, {INT64_MAX, INT64_MAX}).error(), HasSubstr("outside"));
  EXPECT_THAT(one().op(RecipeOpKind::UnpermuteRope, {2}).error(), HasSubstr("2 heads of even size"));
  EXPECT_THAT(one().op(RecipeOpKind::Widen, {99}).error(), HasSubstr("f32 or bf16"));
  EXPECT_THAT(one().op(RecipeOpKind::Repack, {99}).error(), HasSubstr("layout 99"));
  EXPECT_THAT(one().result(DType::F32, 4).error(), HasSubstr("gives 8 bytes of f32, expected 4"));
  EXPECT_THAT(one().result(DType::BF16, 8).error(), HasSubstr("expected 8 of bf16"));
}
