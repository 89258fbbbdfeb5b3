#include "support/Dequantise.h"

#include "support/Float.h"

#include <cstring>
#include <string>

using namespace fusebox;

namespace {

float readF16(const uint8_t *bytes) {
  uint16_t bits;
  std::memcpy(&bits, bytes, sizeof bits);
  return f16ToF32(bits);
}

uint32_t readU32(const uint8_t *bytes) {
  uint32_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

// The 32-element blocks keep value j in the low half of byte j and value j + 16 in its high half.

void widenQ4_0(const uint8_t *block, float *out) {
  float d = readF16(block);
  for (int j = 0; j < 16; ++j) {
    out[j] = d * float(int(block[2 + j] & 15) - 8);
    out[j + 16] = d * float(int(block[2 + j] >> 4) - 8);
  }
}

void widenQ4_1(const uint8_t *block, float *out) {
  float d = readF16(block), m = readF16(block + 2);
  for (int j = 0; j < 16; ++j) {
    out[j] = d * float(block[4 + j] & 15) + m;
    out[j + 16] = d * float(block[4 + j] >> 4) + m;
  }
}

void widenQ5_0(const uint8_t *block, float *out) {
  float d = readF16(block);
  uint32_t high = readU32(block + 2);
  for (int j = 0; j < 16; ++j) {
    out[j] = d * float(int((block[6 + j] & 15) | (high >> j & 1) << 4) - 16);
    out[j + 16] = d * float(int((block[6 + j] >> 4) | (high >> (j + 16) & 1) << 4) - 16);
  }
}

void widenQ5_1(const uint8_t *block, float *out) {
  float d = readF16(block), m = readF16(block + 2);
  uint32_t high = readU32(block + 4);
  for (int j = 0; j < 16; ++j) {
    out[j] = d * float((block[8 + j] & 15) | (high >> j & 1) << 4) + m;
    out[j + 16] = d * float((block[8 + j] >> 4) | (high >> (j + 16) & 1) << 4) + m;
  }
}

void widenQ8_0(const uint8_t *block, float *out) {
  float d = readF16(block);
  for (int j = 0; j < 32; ++j)
    out[j] = d * float(int8_t(block[2 + j]));
}

/// Scale and minimum of group `j` of eight, 6 bits each, packed into 12 bytes.
struct ScaleAndMinimum {
  uint8_t scale, minimum;
};
ScaleAndMinimum unpackGroup(const uint8_t *packed, int j) {
  if (j < 4)
    return {uint8_t(packed[j] & 63), uint8_t(packed[j + 4] & 63)};
  return {uint8_t((packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4),
          uint8_t((packed[j + 4] >> 4) | (packed[j] >> 6) << 4)};
}

/// Q4_K and, with `high` (bit g of byte l is the fifth bit of value l of group g), Q5_K.
void widenK(const uint8_t *block, const uint8_t *high, const uint8_t *low, float *out) {
  float d = readF16(block), dmin = readF16(block + 2);
  for (int group = 0; group < 8; ++group) {
    auto [scale, minimum] = unpackGroup(block + 4, group);
    float groupScale = d * float(scale), groupMinimum = dmin * float(minimum);
    const uint8_t *bytes = low + 32 * (group / 2);
    for (int l = 0; l < 32; ++l) {
      int q = group % 2 ? bytes[l] >> 4 : bytes[l] & 15;
      if (high)
        q |= (high[l] >> group & 1) << 4;
      out[32 * group + l] = groupScale * float(q) - groupMinimum;
    }
  }
}

void widenQ4_K(const uint8_t *block, float *out) { widenK(block, nullptr, block + 16, out); }
void widenQ5_K(const uint8_t *block, float *out) { widenK(block, block + 16, block + 48, out); }

/// Two halves of 128 values; in each, four quarters share their high bits' bytes.
void widenQ6_K(const uint8_t *block, float *out) {
  float d = readF16(block + 208);
  for (int half = 0; half < 2; ++half) {
    const uint8_t *low = block + 64 * half, *high = block + 128 + 32 * half, *scales = block + 192 + 8 * half;
    for (int quarter = 0; quarter < 4; ++quarter) {
      for (int l = 0; l < 32; ++l) {
        uint8_t byte = low[32 * (quarter % 2) + l];
        int q = quarter < 2 ? byte & 15 : byte >> 4;
        q |= (high[l] >> (2 * quarter) & 3) << 4;
        out[128 * half + 32 * quarter + l] = d * float(int8_t(scales[2 * quarter + l / 16])) * float(q - 32);
      }
    }
  }
}

using WidenBlock = void (*)(const uint8_t *block, float *out);

WidenBlock blockWidener(DType type) {
  switch (type) {
  case DType::Q4_0:
    return widenQ4_0;
  case DType::Q4_1:
    return widenQ4_1;
  case DType::Q5_0:
    return widenQ5_0;
  case DType::Q5_1:
    return widenQ5_1;
  case DType::Q8_0:
    return widenQ8_0;
  case DType::Q4_K:
    return widenQ4_K;
  case DType::Q5_K:
    return widenQ5_K;
  case DType::Q6_K:
    return widenQ6_K;
  default:
    return nullptr;
  }
}

} // namespace

Result<void> fusebox::dequantiseRow(DType type, std::span<const std::byte> bytes, size_t count, float *out) {
  BlockSize block = blockSize(type);
  if (count % block.elements || bytes.size() != count / block.elements * block.bytes)
    return internalError("a row of " + std::to_string(count) + " values of type " +
                         std::string(dtypeName(type)) + " can't have " + std::to_string(bytes.size()) +
                         " bytes");
  auto *in = reinterpret_cast<const uint8_t *>(bytes.data());
  if (WidenBlock widen = blockWidener(type)) {
    for (size_t i = 0; i < count / block.elements; ++i)
      widen(in + i * block.bytes, out + i * block.elements);
    return {};
  }
  switch (type) {
  case DType::F32:
    if (count)
      std::memcpy(out, in, bytes.size());
    return {};
  case DType::F16:
    for (size_t i = 0; i < count; ++i)
      out[i] = readF16(in + 2 * i);
    return {};
  case DType::BF16:
    for (size_t i = 0; i < count; ++i)
      out[i] = bf16ToF32(uint16_t(in[2 * i] | in[2 * i + 1] << 8));
    return {};
  default:
    return internalError("values of type " + std::string(dtypeName(type)) + " can't be widened to f32");
  }
}
