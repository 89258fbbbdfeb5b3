// A small deterministic mutation fuzzer for readers: takes valid inputs, damages them, hands them to a
// target. Used by the fuzz tests of every reader; under the asan preset they show that damaged files end in
// clean errors.
//
// Iteration n depends on the seed and n alone. If a run dies, it prints n; FUSEBOX_FUZZ_FIRST=n starts there
// again.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// Defined by the sanitizers' runtime, where there is one.
extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

namespace fusebox::fuzz {

using Bytes = std::vector<std::byte>;

inline Bytes bytesOf(std::string_view text) {
  auto *begin = reinterpret_cast<const std::byte *>(text.data());
  return Bytes(begin, begin + text.size());
}

/// A number from the environment, or `fallback`.
inline uint64_t environmentNumber(const char *name, uint64_t fallback) {
  const char *value = std::getenv(name);
  return value && *value ? std::strtoull(value, nullptr, 10) : fallback;
}

/// SplitMix64: a full-period generator whose every state is a good seed.
class Random {
public:
  explicit Random(uint64_t seed) : state(seed) {}
  uint64_t next() {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  /// From 0 to limit - 1; limit > 0.
  uint64_t below(uint64_t limit) { return next() % limit; }

private:
  uint64_t state;
};

struct Options {
  uint64_t iterations = environmentNumber("FUSEBOX_FUZZ_ITERATIONS", 2000);
  uint64_t first = environmentNumber("FUSEBOX_FUZZ_FIRST", 0);
  uint64_t seed = 1;
  /// Words of the format, put in whole now and then: keys, magic numbers, type names.
  std::vector<std::string> dictionary;
};

/// Damages inputs. One mutation changes bits, numbers or ranges; apply() stacks one to four of them,
/// half the time just one.
class Mutator {
public:
  Mutator(std::span<const Bytes> seeds, const std::vector<std::string> &dictionary, Random &random)
      : seeds(seeds), dictionary(dictionary), random(random) {}

  Bytes apply() {
    Bytes input = seeds[random.below(seeds.size())];
    for (uint64_t count = random.below(2) ? 1 : 1 + random.below(4); count > 0; --count)
      mutateOnce(input);
    return input;
  }

private:
  void mutateOnce(Bytes &input) {
    switch (random.below(9)) {
    case 0:
      return flipBit(input);
    case 1:
      return overwriteNumber(input);
    case 2:
      return overwriteByte(input);
    case 3:
      return erase(input);
    case 4:
      return duplicate(input);
    case 5:
      return insertNoise(input);
    case 6:
      return truncate(input);
    case 7:
      return splice(input);
    default:
      return insertWord(input);
    }
  }

  /// A place in the input; in one case of four at the beginning, where headers are.
  size_t place(const Bytes &input) {
    size_t size = input.size();
    return random.below(random.below(4) ? size : std::min<size_t>(size, 64));
  }
  /// A range [begin, end) of up to 64 bytes, or once in eight of any length.
  std::pair<size_t, size_t> range(const Bytes &input) {
    size_t begin = place(input), rest = input.size() - begin;
    size_t length = 1 + random.below(random.below(8) ? std::min<size_t>(rest, 64) : rest);
    return {begin, std::min(begin + length, input.size())};
  }

  void flipBit(Bytes &input) {
    if (!input.empty())
      input[place(input)] ^= std::byte(1u << random.below(8));
  }

  void overwriteByte(Bytes &input) {
    if (!input.empty())
      input[place(input)] = std::byte(random.next());
  }

  /// Little-endian numbers at the edges of their ranges, and near what stood there.
  void overwriteNumber(Bytes &input) {
    size_t width = size_t(1) << random.below(4);
    if (input.size() < width)
      return;
    size_t at = std::min(place(input), input.size() - width);
    uint64_t value = 0;
    std::memcpy(&value, input.data() + at, width);
    static constexpr uint64_t edges[] = {0,
                                         1,
                                         0x7f,
                                         0x80,
                                         0xff,
                                         0x7fff,
                                         0x8000,
                                         0xffff,
                                         0x7fffffff,
                                         0x80000000,
                                         0xffffffff,
                                         0x7fffffffffffffff,
                                         0x8000000000000000,
                                         UINT64_MAX,
                                         UINT64_MAX - 7,
                                         uint64_t(1) << 40};
    switch (random.below(3)) {
    case 0:
      value = edges[random.below(std::size(edges))];
      break;
    case 1:
      value += random.below(16) - 8;
      break;
    default:
      value = random.below(4 * input.size() + 1);
      break;
    }
    std::memcpy(input.data() + at, &value, width);
  }

  void erase(Bytes &input) {
    if (input.empty())
      return;
    auto [begin, end] = range(input);
    input.erase(input.begin() + ptrdiff_t(begin), input.begin() + ptrdiff_t(end));
  }

  void duplicate(Bytes &input) {
    if (input.empty() || input.size() > maxBytes)
      return;
    auto [begin, end] = range(input);
    Bytes copy(input.begin() + ptrdiff_t(begin), input.begin() + ptrdiff_t(end));
    insert(input, copy);
  }

  void insertNoise(Bytes &input) {
    Bytes noise(1 + random.below(16));
    for (std::byte &byte : noise)
      byte = std::byte(random.next());
    insert(input, noise);
  }

  void insertWord(Bytes &input) {
    if (!dictionary.empty())
      insert(input, bytesOf(dictionary[random.below(dictionary.size())]));
  }

  void truncate(Bytes &input) {
    if (!input.empty())
      input.resize(place(input));
  }

  /// The beginning of this input and the end of another.
  void splice(Bytes &input) {
    const Bytes &other = seeds[random.below(seeds.size())];
    if (input.empty() || other.empty())
      return;
    input.resize(random.below(input.size()));
    size_t from = random.below(other.size());
    input.insert(input.end(), other.begin() + ptrdiff_t(from), other.end());
  }

  void insert(Bytes &input, const Bytes &piece) {
    size_t at = input.empty() ? 0 : place(input);
    if (random.below(2) && at + piece.size() <= input.size())
      std::copy(piece.begin(), piece.end(), input.begin() + ptrdiff_t(at));
    else
      input.insert(input.begin() + ptrdiff_t(at), piece.begin(), piece.end());
  }

  /// Inputs stop growing here, so that a run's time stays even.
  static constexpr size_t maxBytes = 4 << 20;

  std::span<const Bytes> seeds;
  const std::vector<std::string> &dictionary;
  Random &random;
};

inline uint64_t currentIteration = 0;

/// Calls `target(std::span<const std::byte>)` with options.iterations damaged inputs made from `seeds` (at
/// least one).
template <typename Target>
void fuzzMutations(std::span<const Bytes> seeds, Target &&target, const Options &options = {}) {
  if (__sanitizer_set_death_callback)
    __sanitizer_set_death_callback([] {
      std::fprintf(stderr, "died at FUSEBOX_FUZZ_FIRST=%llu\n", (unsigned long long)currentIteration);
    });
  for (uint64_t n = options.first; n < options.iterations; ++n) {
    currentIteration = n;
    Random random(options.seed * 0x2545f4914f6cdd1d + n);
    Bytes mutated = Mutator(seeds, options.dictionary, random).apply();
    Bytes input(mutated); // no spare capacity, so that one byte beyond the end is caught
    target(std::span<const std::byte>(input));
  }
}

} // namespace fusebox::fuzz
