// What FakeCublasLt.cpp was asked for.
#pragma once

#include <cstddef>
#include <cstdint>

struct FakeProduct {
  uint64_t algorithm = 0;
  uint64_t in = 0, out = 0, rows = 0;
  int outType = 0; ///< cudaDataType_t: 0 f32, 14 bf16
  bool weightTransposed = false;
  const void *bias = nullptr, *weight = nullptr, *x = nullptr, *y = nullptr;
};
