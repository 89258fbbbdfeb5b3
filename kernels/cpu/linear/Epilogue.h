// The end of a linear output: bias, rounding, store.
#pragma once

#include "kernels/cpu/linear/Operands.h"

namespace fusebox::cpu {

FB_INLINE const char *biasOf(const LinearShape *shape, void *const *args) {
  return shape->hasBias ? static_cast<const char *>(args[3]) : nullptr;
}

FB_INLINE float loadBias(const LinearShape *shape, const char *bias, int64_t column) {
  switch (DType(shape->biasType)) {
  case DType::BF16:
    return loadOne<DType::BF16>(bias + column * 2);
  case DType::F16:
    return loadOne<DType::F16>(bias + column * 2);
  default:
    return loadOne<DType::F32>(bias + column * 4);
  }
}

/// Rounds as the output type says; bf16 outputs are rounded by the store.
FB_INLINE v16f roundOutput(const LinearShape *shape, v16f value) {
  return shape->outType == int64_t(DType::F32) && shape->roundBeforeF32 ? roundToBf16(value) : value;
}

FB_INLINE void storeOutput(const LinearShape *shape, char *out, int64_t index, v16f value, int64_t count) {
  value = roundOutput(shape, value);
  if (shape->outType == int64_t(DType::F32))
    storeUpTo<DType::F32>(out + index * 4, value, count);
  else
    storeUpTo<DType::BF16>(out + index * 2, value, count);
}

} // namespace fusebox::cpu
