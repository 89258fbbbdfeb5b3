// SentencePiece's algorithms: normalisation, BPE and Unigram segmentation, byte fallback, decoding.
//
// Why not Debian's library: it comes as a shared object only, which would bring a second C++ runtime into a
// static program, and it trusts its model file (an altered character map reads out of bounds). Results are
// the library's own, id for id; test/data/sentencepiece has its outputs. Source: Kudo & Richardson 2018
// (arXiv 1808.06226); google/sentencepiece.
#pragma once

#include "runtime/text/SentencePieceProto.h"

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace fusebox {

/// Rewrites text before segmentation (or after decoding).
class SentencePieceNormalizer {
public:
  /// Fails when the compiled character map is malformed.
  static Result<SentencePieceNormalizer> create(const SentencePieceProto::Normalizer &spec,
                                                bool whitespaceAsSuffix);

  /// Any bytes; malformed UTF-8 becomes U+FFFD, a byte at a time. `keepWhole` holds pieces that are not
  /// rewritten.
  std::string normalize(std::string_view text, bool addDummyPrefix,
                        const std::function<size_t(std::string_view)> &keepWhole) const;
  bool addsDummyPrefix() const { return spec.addDummyPrefix; }
  bool removesExtraWhitespace() const { return spec.removeExtraWhitespace; }

private:
  /// A replacement for the text's beginning, and how many bytes it replaces.
  struct Step {
    std::string_view replacement;
    size_t consumed;
  };
  Step rewriteFront(std::string_view text, const std::function<size_t(std::string_view)> &keepWhole) const;
  Step longestRule(std::string_view text) const;

  SentencePieceProto::Normalizer spec;
  bool whitespaceAsSuffix = false;
  std::vector<uint32_t> trie; ///< double-array units (s-yata/darts-clone)
  std::string replacements;   ///< strings ending in NUL, found by offset
};

/// A model ready to encode. Immutable; safe to share between threads.
class SentencePieceEncoder {
public:
  /// Fails when pieces contradict each other: duplicates, no unknown piece, missing byte pieces.
  static Result<SentencePieceEncoder> create(SentencePieceProto proto);
  SentencePieceEncoder(SentencePieceEncoder &&) = default;

  /// Ids of a UTF-8 text, with no BOS or EOS; `addDummyPrefix` overrides the model's own setting.
  std::vector<int32_t> encode(std::string_view text, bool addDummyPrefix) const;
  /// Text of ids; ids outside the vocabulary are dropped, control pieces print nothing.
  std::string decode(std::span<const int32_t> ids) const;

  const std::vector<SentencePieceProto::Piece> &pieces() const { return proto.pieces; }
  bool addsDummyPrefix() const { return normalizer.addsDummyPrefix(); }
  std::optional<int32_t> pieceId(std::string_view text) const;

private:
  using PieceType = SentencePieceProto::PieceType;
  /// A stretch of the normalised text and its piece.
  struct Segment {
    std::string_view text;
    int32_t id;
  };

  using PieceList = std::vector<std::pair<std::string_view, int32_t>>;

  SentencePieceEncoder(SentencePieceProto proto, SentencePieceNormalizer normalizer)
      : proto(std::move(proto)), normalizer(std::move(normalizer)) {}
  Result<void> index();
  Result<void> indexPiece(int32_t id);
  size_t userDefinedPrefix(std::string_view text) const;
  std::vector<Segment> segmentBpe(std::string_view text) const;
  std::vector<Segment> segmentUnigram(std::string_view text) const;
  std::vector<int32_t> toIds(std::span<const Segment> segments) const;
  PieceType type(int32_t id) const { return proto.pieces[id].type; }

  SentencePieceProto proto;
  SentencePieceNormalizer normalizer;
  std::optional<SentencePieceNormalizer> denormalizer;
  // The keys are views of proto.pieces, whose strings stay where they are when the encoder is moved.
  std::unordered_map<std::string_view, int32_t> matchable; ///< pieces text can be cut into
  std::unordered_map<std::string_view, int32_t> reserved;  ///< unknown, control and byte pieces
  PieceList sorted, userDefined;                           ///< by text, for prefix searches
  std::array<int32_t, 256> byteIds{};
  int32_t unknownId = 0;
  float minScore = 0, maxScore = 0; ///< over normal pieces
};

} // namespace fusebox
