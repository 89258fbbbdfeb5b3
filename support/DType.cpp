#include "support/DType.h"

#include <array>
#include <utility>

using namespace fusebox;

static constexpr std::array<std::pair<DType, std::string_view>, 18> names = {{
    {DType::F64, "f64"},
    {DType::F32, "f32"},
    {DType::F16, "f16"},
    {DType::BF16, "bf16"},
    {DType::I64, "i64"},
    {DType::I32, "i32"},
    {DType::I16, "i16"},
    {DType::I8, "i8"},
    {DType::U8, "u8"},
    {DType::Bool, "bool"},
    {DType::Q4_0, "q4_0"},
    {DType::Q4_1, "q4_1"},
    {DType::Q5_0, "q5_0"},
    {DType::Q5_1, "q5_1"},
    {DType::Q8_0, "q8_0"},
    {DType::Q4_K, "q4_k"},
    {DType::Q5_K, "q5_k"},
    {DType::Q6_K, "q6_k"},
}};

std::string_view fusebox::dtypeName(DType type) {
  for (auto [value, name] : names)
    if (value == type)
      return name;
  return "invalid";
}

std::optional<DType> fusebox::dtypeFromName(std::string_view name) {
  for (auto [value, known] : names)
    if (known == name)
      return value;
  return std::nullopt;
}
