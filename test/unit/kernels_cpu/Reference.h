// Scalar references and test data for the CPU kernels' tests.
#pragma once

#include "support/DType.h"
#include "support/Float.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

namespace fusebox::cpu::test {

/// A tensor's bytes in any type a kernel reads, with each element's value.
struct Tensor {
  DType type = DType::BF16;
  std::vector<unsigned char> bytes;

  void *data() { return bytes.data(); }
  const void *data() const { return bytes.data(); }
  float operator[](size_t index) const {
    if (type == DType::F32) {
      float value;
      std::memcpy(&value, &bytes[index * 4], 4);
      return value;
    }
    uint16_t bits;
    std::memcpy(&bits, &bytes[index * 2], 2);
    return type == DType::F16 ? f16ToF32(bits) : bf16ToF32(bits);
  }
  void set(size_t index, float value) {
    if (type == DType::F32) {
      std::memcpy(&bytes[index * 4], &value, 4);
      return;
    }
    uint16_t bits = type == DType::F16 ? f32ToF16(value) : f32ToBf16(value);
    std::memcpy(&bytes[index * 2], &bits, 2);
  }
  bool operator==(const Tensor &) const = default;
};

inline Tensor zeros(DType type, size_t count) {
  return {type, std::vector<unsigned char>(count / blockSize(type).elements * blockSize(type).bytes)};
}

/// Normal numbers of deviation `scale`; blocks get random quants and small scales.
inline Tensor randomTensor(DType type, size_t count, uint32_t seed, float scale = 1.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  Tensor tensor = zeros(type, count);
  if (!isBlockQuantised(type)) {
    for (size_t i = 0; i < count; ++i)
      tensor.set(i, normal(generator));
    return tensor;
  }
  for (unsigned char &byte : tensor.bytes)
    byte = (unsigned char)generator();
  for (size_t block = 0; block < tensor.bytes.size(); block += blockSize(type).bytes) {
    uint16_t d = f32ToF16(normal(generator) / 8), m = f32ToF16(normal(generator));
    std::memcpy(&tensor.bytes[block], &d, 2);
    if (type == DType::Q4_1)
      std::memcpy(&tensor.bytes[block + 2], &m, 2);
  }
  return tensor;
}

/// Rounds a value to what `type` holds.
inline float rounded(DType type, float value) {
  return type == DType::F32 ? value : bf16ToF32(f32ToBf16(value));
}

inline uint32_t bitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

/// The lanes' tree: i with i + 8, 4, 2, 1.
inline float sumOfLanes(float (&lane)[16]) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i)
      lane[i] += lane[i + half];
  return lane[0];
}

} // namespace fusebox::cpu::test
