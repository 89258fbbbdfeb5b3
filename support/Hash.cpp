#include "support/Hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

using namespace fusebox;

struct Hasher::State {
  XXH3_state_t xxh;
};

static std::string hexDigits(XXH128_hash_t hash) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  std::string text;
  for (unsigned char byte : canonical.digest) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

uint64_t fusebox::hash64(std::span<const std::byte> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

std::string fusebox::hash128(std::span<const std::byte> bytes) {
  return hexDigits(XXH3_128bits(bytes.data(), bytes.size()));
}

Hasher::Hasher() : state(std::make_unique<State>()) { XXH3_128bits_reset(&state->xxh); }
Hasher::~Hasher() = default;

void Hasher::add(std::span<const std::byte> bytes) {
  XXH3_128bits_update(&state->xxh, bytes.data(), bytes.size());
}

std::string Hasher::digest128() const { return hexDigits(XXH3_128bits_digest(&state->xxh)); }
uint64_t Hasher::digest64() const { return XXH3_64bits_digest(&state->xxh); }
