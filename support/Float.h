// bf16 and f16 conversions with IEEE rounding (nearest, ties to even), for host code.
// Subnormals are kept; a NaN stays a NaN.
#pragma once

#include <bit>
#include <cstdint>

namespace fusebox {

inline float bf16ToF32(uint16_t bits) { return std::bit_cast<float>(uint32_t(bits) << 16); }

inline uint16_t f32ToBf16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u)
    return uint16_t((bits >> 16) | 0x40u);
  return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float f16ToF32(uint16_t bits) { return float(std::bit_cast<_Float16>(bits)); }
inline uint16_t f32ToF16(float value) { return std::bit_cast<uint16_t>(_Float16(value)); }

/// Rounds an f64 to bf16 once (not through f32: no double rounding).
inline uint16_t f64ToBf16(double value) {
  float f = float(value);
  // Round to odd in f32 first: f32 has more than twice bf16's digits plus two, so the second rounding is
  // right.
  uint32_t bits = std::bit_cast<uint32_t>(f);
  if (double(f) != value && value == value && (bits & 0x7f800000u) != 0x7f800000u) {
    bool away = (value > 0) ? double(f) > value : double(f) < value;
    if (away)
      bits -= 1;
    bits |= 1;
  }
  return f32ToBf16(std::bit_cast<float>(bits));
}

} // namespace fusebox
