// Reading and writing rows of any plain type as f32 lanes.
#pragma once

#include "kernels/cpu/numerics/Isa.h"
#include "support/DType.h"

namespace fusebox::cpu {

template <DType T> inline constexpr int64_t bytesOf = blockSize(T).bytes;

/// 16 consecutive elements, widened exactly.
template <DType T> FB_INLINE v16f loadLanes(const void *from) {
  if constexpr (T == DType::F32)
    return load<v16f>(from);
  else if constexpr (T == DType::BF16)
    return fromBf16(load<v16h>(from));
  else
    return __builtin_convertvector(load<v16hf>(from), v16f);
}

/// Stores 16 elements, rounded once to nearest even.
template <DType T> FB_INLINE void storeLanes(void *to, v16f value) {
  if constexpr (T == DType::F32)
    store(to, value);
  else
    store(to, toBf16(value));
}

template <DType T> FB_INLINE float loadOne(const void *from) {
  if constexpr (T == DType::F32)
    return load<float>(from);
  else if constexpr (T == DType::BF16)
    return __builtin_bit_cast(float, uint32_t(load<uint16_t>(from)) << 16);
  else
    return float(load<_Float16>(from));
}
template <DType T> FB_INLINE void storeOne(void *to, float value) {
  if constexpr (T == DType::F32)
    store(to, value);
  else
    store(to, uint16_t(toBf16(splat(value))[0]));
}

/// The first `count` < 16 elements, zeros after them.
template <DType T> FB_INLINE v16f loadSome(const void *from, int64_t count) {
  v16f result = splat(0.0f);
  for (int64_t i = 0; i < count; ++i)
    result[i] = loadOne<T>(static_cast<const char *>(from) + i * bytesOf<T>);
  return result;
}
template <DType T> FB_INLINE void storeSome(void *to, v16f value, int64_t count) {
  char all[lanes * bytesOf<T>];
  storeLanes<T>(all, value);
  for (int64_t i = 0; i < count * bytesOf<T>; i += 2)
    store(static_cast<char *>(to) + i, load<uint16_t>(all + i));
}

/// Rounds as a tensor of type T would hold the value.
template <DType T> FB_INLINE v16f roundTo(v16f value) {
  if constexpr (T == DType::F32)
    return value;
  else
    return roundToBf16(value);
}

/// Calls body(i, count) for each group of 16 elements of `columns`; count is 16 but for the last group.
template <typename Body> FB_INLINE void forLanes(int64_t columns, Body body) {
  int64_t i = 0;
  for (; i + lanes <= columns; i += lanes)
    body(i, int64_t(lanes));
  if (i < columns)
    body(i, columns - i);
}
template <DType T> FB_INLINE v16f loadUpTo(const void *from, int64_t count) {
  return count == lanes ? loadLanes<T>(from) : loadSome<T>(from, count);
}
template <DType T> FB_INLINE void storeUpTo(void *to, v16f value, int64_t count) {
  if (count == lanes)
    storeLanes<T>(to, value);
  else
    storeSome<T>(to, value, count);
}

/// Calls body.template operator()<T>() for T in {BF16, F32}, the types of activations.
template <typename Body> FB_INLINE void withActivation(int64_t type, Body body) {
  if (type == int64_t(DType::BF16))
    body.template operator()<DType::BF16>();
  else
    body.template operator()<DType::F32>();
}

/// Address of element `index` of a row of T.
template <DType T> FB_INLINE const char *at(const void *base, int64_t index) {
  return static_cast<const char *>(base) + index * bytesOf<T>;
}
template <DType T> FB_INLINE char *at(void *base, int64_t index) {
  return static_cast<char *>(base) + index * bytesOf<T>;
}

} // namespace fusebox::cpu
