#include "runtime/text/SentencePieceProto.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <optional>

using namespace fusebox;

namespace {

using Piece = SentencePieceProto::Piece;
using Normalizer = SentencePieceProto::Normalizer;

Error malformed(const std::string &what) {
  return modelError("tokenizer.model: " + what + "; expected a SentencePiece model, fetch the file again");
}

/// One field of a protobuf message: a number (varint or fixed) or a slice of bytes.
struct Field {
  uint32_t number = 0;
  uint32_t wireType = 0;
  uint64_t value = 0;
  std::string_view bytes;
};

/// Steps over a message's fields; every length is checked against what is left.
class FieldReader {
public:
  explicit FieldReader(std::string_view message) : rest(message) {}

  /// The next field; nothing at the end or at a malformed field (then failed() is true).
  std::optional<Field> next() {
    if (rest.empty())
      return std::nullopt;
    Field field;
    uint64_t tag;
    if (!varint(tag) || tag >> 32 != 0)
      return fail();
    field.number = uint32_t(tag >> 3);
    field.wireType = uint32_t(tag & 7);
    return readValue(field) ? std::optional(field) : fail();
  }
  bool failed() const { return bad; }

private:
  std::optional<Field> fail() {
    bad = true;
    return std::nullopt;
  }

  bool readValue(Field &field) {
    uint64_t size;
    switch (field.wireType) {
    case 0:
      return varint(field.value);
    case 1:
      return fixed(8, field.value);
    case 2:
      if (!varint(size) || size > rest.size())
        return false;
      field.bytes = rest.substr(0, size);
      rest.remove_prefix(size);
      return true;
    case 5:
      return fixed(4, field.value);
    default:
      return false;
    }
  }

  bool varint(uint64_t &value) {
    value = 0;
    for (unsigned shift = 0; shift < 64 && !rest.empty(); shift += 7) {
      uint8_t byte = uint8_t(rest.front());
      rest.remove_prefix(1);
      value |= uint64_t(byte & 0x7f) << shift;
      if (byte < 0x80)
        return true;
    }
    return false;
  }

  bool fixed(size_t size, uint64_t &value) {
    if (rest.size() < size)
      return false;
    value = 0;
    std::memcpy(&value, rest.data(), size);
    rest.remove_prefix(size);
    return true;
  }

  std::string_view rest;
  bool bad = false;
};

Result<Piece> parsePiece(std::string_view message) {
  Piece piece;
  FieldReader reader(message);
  while (auto field = reader.next()) {
    if (field->number == 1 && field->wireType == 2)
      piece.text = field->bytes;
    if (field->number == 2 && field->wireType == 5)
      piece.score = std::bit_cast<float>(uint32_t(field->value));
    if (field->number == 3 && field->wireType == 0) {
      if (field->value < 1 || field->value > 6)
        return malformed("a piece has the unknown type " + std::to_string(field->value));
      piece.type = SentencePieceProto::PieceType(field->value);
    }
  }
  if (reader.failed() || piece.text.empty() || !std::isfinite(piece.score))
    return malformed("a piece is damaged");
  return piece;
}

Result<void> parseTrainerSpec(std::string_view message, SentencePieceProto &proto) {
  FieldReader reader(message);
  while (auto field = reader.next()) {
    if (field->number == 3 && field->wireType == 0) {
      if (field->value != 1 && field->value != 2)
        return modelError("tokenizer.model: model type " + std::to_string(field->value) +
                          " is not supported; Unigram (1) and BPE (2) are");
      proto.algorithm = SentencePieceProto::Algorithm(field->value);
    }
    if (field->number == 24 && field->wireType == 0)
      proto.whitespaceAsSuffix = field->value != 0;
    if (field->number == 35 && field->wireType == 0)
      proto.byteFallback = field->value != 0;
    if (field->number == 44 && field->wireType == 2)
      proto.unknownSurface = field->bytes;
  }
  if (reader.failed())
    return malformed("the trainer settings are damaged");
  return {};
}

Result<void> parseNormalizer(std::string_view message, Normalizer &normalizer) {
  FieldReader reader(message);
  while (auto field = reader.next()) {
    if (field->number == 2 && field->wireType == 2)
      normalizer.charsMap = field->bytes;
    if (field->number == 3 && field->wireType == 0)
      normalizer.addDummyPrefix = field->value != 0;
    if (field->number == 4 && field->wireType == 0)
      normalizer.removeExtraWhitespace = field->value != 0;
    if (field->number == 5 && field->wireType == 0)
      normalizer.escapeWhitespace = field->value != 0;
  }
  if (reader.failed())
    return malformed("the normalizer is damaged");
  return {};
}

/// Appends protobuf fields to a message.
class FieldWriter {
public:
  std::string message;

  void number(uint32_t field, uint64_t value) {
    varint(uint64_t(field) << 3);
    varint(value);
  }
  void real(uint32_t field, float value) {
    varint(uint64_t(field) << 3 | 5);
    auto bits = std::bit_cast<uint32_t>(value);
    message.append(reinterpret_cast<const char *>(&bits), sizeof(bits));
  }
  void bytes(uint32_t field, std::string_view value) {
    varint(uint64_t(field) << 3 | 2);
    varint(value.size());
    message += value;
  }

private:
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7)
      message += char(value | 0x80);
    message += char(value);
  }
};

std::string serializeNormalizer(const Normalizer &normalizer) {
  FieldWriter writer;
  if (!normalizer.charsMap.empty())
    writer.bytes(2, normalizer.charsMap);
  writer.number(3, normalizer.addDummyPrefix);
  writer.number(4, normalizer.removeExtraWhitespace);
  writer.number(5, normalizer.escapeWhitespace);
  return std::move(writer.message);
}

} // namespace

Result<SentencePieceProto> fusebox::parseSentencePieceProto(std::string_view bytes) {
  SentencePieceProto proto;
  FieldReader reader(bytes);
  while (auto field = reader.next()) {
    if (field->wireType != 2)
      continue;
    if (field->number == 1) {
      FUSEBOX_ASSIGN(Piece piece, parsePiece(field->bytes));
      proto.pieces.push_back(std::move(piece));
    }
    if (field->number == 2)
      FUSEBOX_TRY(parseTrainerSpec(field->bytes, proto));
    if (field->number == 3)
      FUSEBOX_TRY(parseNormalizer(field->bytes, proto.normalizer));
    if (field->number == 5)
      FUSEBOX_TRY(parseNormalizer(field->bytes, proto.denormalizer));
  }
  if (reader.failed())
    return malformed("damaged or cut short");
  if (proto.pieces.empty())
    return malformed("it has no pieces");
  return proto;
}

std::string fusebox::serializeSentencePieceProto(const SentencePieceProto &proto) {
  FieldWriter writer;
  for (const Piece &piece : proto.pieces) {
    FieldWriter fields;
    fields.bytes(1, piece.text);
    fields.real(2, piece.score);
    fields.number(3, uint64_t(piece.type));
    writer.bytes(1, fields.message);
  }
  FieldWriter trainer;
  trainer.number(3, uint64_t(proto.algorithm));
  trainer.number(24, proto.whitespaceAsSuffix);
  trainer.number(35, proto.byteFallback);
  trainer.bytes(44, proto.unknownSurface);
  writer.bytes(2, trainer.message);
  writer.bytes(3, serializeNormalizer(proto.normalizer));
  if (!proto.denormalizer.charsMap.empty())
    writer.bytes(5, serializeNormalizer(proto.denormalizer));
  return std::move(writer.message);
}
