// Element types of tensors in files, plans and the IR: names, sizes, block formats.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace fusebox {

/// Element type of a stored tensor. Values are part of the plan format: append only.
/// The block types are GGUF's (ggml-org/ggml docs/gguf.md); a block holds consecutive elements of one row.
enum class DType : uint8_t {
  F64 = 0,
  F32 = 1,
  F16 = 2,
  BF16 = 3,
  I64 = 4,
  I32 = 5,
  I16 = 6,
  I8 = 7,
  U8 = 8,
  Bool = 9,
  Q4_0 = 32,
  Q4_1 = 33,
  Q5_0 = 34,
  Q5_1 = 35,
  Q8_0 = 36,
  Q4_K = 37,
  Q5_K = 38,
  Q6_K = 39,
};

/// Elements and bytes of the smallest unit a type is stored in: {1, size} for plain types.
struct BlockSize {
  uint32_t elements;
  uint32_t bytes;
};

constexpr BlockSize blockSize(DType type) {
  switch (type) {
  case DType::F64:
  case DType::I64:
    return {1, 8};
  case DType::F32:
  case DType::I32:
    return {1, 4};
  case DType::F16:
  case DType::BF16:
  case DType::I16:
    return {1, 2};
  case DType::I8:
  case DType::U8:
  case DType::Bool:
    return {1, 1};
  case DType::Q4_0:
    return {32, 18};
  case DType::Q4_1:
    return {32, 20};
  case DType::Q5_0:
    return {32, 22};
  case DType::Q5_1:
    return {32, 24};
  case DType::Q8_0:
    return {32, 34};
  case DType::Q4_K:
    return {256, 144};
  case DType::Q5_K:
    return {256, 176};
  case DType::Q6_K:
    return {256, 210};
  }
  return {1, 0};
}

constexpr bool isBlockQuantised(DType type) { return type >= DType::Q4_0; }

/// The name used in the IR and in messages: "bf16", "q4_1".
std::string_view dtypeName(DType type);
std::optional<DType> dtypeFromName(std::string_view name);

} // namespace fusebox
