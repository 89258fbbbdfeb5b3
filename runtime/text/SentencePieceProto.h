// The parts of a SentencePiece ModelProto that encoding and decoding need, and its protobuf encoding.
// Source: google/sentencepiece src/sentencepiece_model.proto. SentencePieceModel.cpp runs what is read here;
// GgufTokenizer.cpp writes one from a GGUF file's vocabulary.
#pragma once

#include "support/Result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fusebox {

struct SentencePieceProto {
  enum class PieceType : uint8_t {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6
  };
  enum class Algorithm : uint8_t { Unigram = 1, Bpe = 2 };

  struct Piece {
    std::string text;
    float score = 0.0f;
    PieceType type = PieceType::Normal;
  };

  /// How text is rewritten before it is cut into pieces.
  struct Normalizer {
    std::string charsMap; ///< a compiled double-array trie with its replacements; empty: identity
    bool addDummyPrefix = true;
    bool removeExtraWhitespace = true;
    bool escapeWhitespace = true; ///< a space becomes U+2581
  };

  std::vector<Piece> pieces; ///< index = token id
  Algorithm algorithm = Algorithm::Unigram;
  bool byteFallback = false;
  bool whitespaceAsSuffix = false;
  std::string unknownSurface = " \xE2\x81\x87 "; ///< what an unknown token decodes to
  Normalizer normalizer;
  Normalizer denormalizer; ///< used when its charsMap is not empty
};

/// Reads a tokenizer.model: untrusted bytes. Fails with ErrorKind::Model on anything malformed.
Result<SentencePieceProto> parseSentencePieceProto(std::string_view bytes);

/// The protobuf bytes that parseSentencePieceProto reads back.
std::string serializeSentencePieceProto(const SentencePieceProto &proto);

} // namespace fusebox
