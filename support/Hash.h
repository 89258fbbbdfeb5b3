// Content hashes: XXH3 (Cyan4973/xxHash), 64 bits for checksums, 128 bits for identities. Not cryptographic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace fusebox {

/// XXH3-64 of the bytes, seed 0.
uint64_t hash64(std::span<const std::byte> bytes);

/// XXH3 of bytes that come in parts. The parts' borders don't matter.
class Hasher {
public:
  Hasher();
  ~Hasher();
  void add(std::span<const std::byte> bytes);
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }
  /// 32 hex digits, the canonical (big-endian) form that xxhsum -H2 prints.
  std::string digest128() const;
  uint64_t digest64() const;

private:
  struct State;
  std::unique_ptr<State> state;
};

/// XXH3-128 of the bytes as 32 hex digits.
std::string hash128(std::span<const std::byte> bytes);

} // namespace fusebox
