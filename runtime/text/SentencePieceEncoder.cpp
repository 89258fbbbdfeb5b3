#include "runtime/text/SentencePieceEncoder.h"
#include "runtime/text/Utf8.h"

#include <algorithm>
#include <cfloat>
#include <queue>

using namespace fusebox;

namespace {

constexpr std::string_view spaceSymbol = "\xE2\x96\x81"; // U+2581
constexpr std::string_view replacementCharacter = "\xEF\xBF\xBD";

/// Bytes of a character by its first byte alone, as SentencePiece steps over normalised text.
size_t characterLength(std::string_view text) {
  uint8_t lead = uint8_t(text.front());
  size_t length = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  return std::min(length, text.size());
}

/// Calls visit(length, id) for each entry of `list` (sorted by text) that `text` begins with, shortest first.
template <typename List, typename Visit>
void forEachPrefix(const List &list, std::string_view text, Visit visit) {
  auto low = list.begin(), high = list.end();
  for (size_t depth = 0; depth < text.size(); ++depth) {
    uint8_t label = uint8_t(text[depth]);
    auto charAt = [depth](const auto &entry) { return uint8_t(entry.first[depth]); };
    low = std::partition_point(
        low, high, [&](const auto &entry) { return entry.first.size() <= depth || charAt(entry) < label; });
    high = std::partition_point(low, high, [&](const auto &entry) { return charAt(entry) <= label; });
    if (low == high)
      return;
    if (low->first.size() == depth + 1)
      visit(depth + 1, low->second);
  }
}

/// The byte a piece "<0x41>" stands for; nothing for any other spelling.
std::optional<uint8_t> byteOfPiece(std::string_view text) {
  auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>' || digit(text[3]) < 0 ||
      digit(text[4]) < 0)
    return std::nullopt;
  return uint8_t(digit(text[3]) * 16 + digit(text[4]));
}

Error contradiction(const std::string &what) {
  return modelError("tokenizer.model: " + what + "; the file is damaged, fetch it again");
}

} // namespace

Result<SentencePieceEncoder> SentencePieceEncoder::create(SentencePieceProto proto) {
  FUSEBOX_ASSIGN(auto normalizer,
                 SentencePieceNormalizer::create(proto.normalizer, proto.whitespaceAsSuffix));
  SentencePieceEncoder encoder(std::move(proto), std::move(normalizer));
  if (!encoder.proto.denormalizer.charsMap.empty()) {
    FUSEBOX_ASSIGN(encoder.denormalizer, SentencePieceNormalizer::create(encoder.proto.denormalizer, false));
  }
  FUSEBOX_TRY(encoder.index());
  return encoder;
}

Result<void> SentencePieceEncoder::index() {
  byteIds.fill(-1);
  unknownId = -1;
  minScore = FLT_MAX;
  maxScore = -FLT_MAX;
  matchable.reserve(proto.pieces.size());
  for (size_t id = 0; id < proto.pieces.size(); ++id)
    FUSEBOX_TRY(indexPiece(int32_t(id)));
  if (unknownId == -1)
    return contradiction("no piece is of type unknown");
  if (proto.byteFallback && std::count(byteIds.begin(), byteIds.end(), -1) != 0)
    return contradiction("byte fallback is on but some of the 256 byte pieces are missing");
  if (!isUtf8(proto.unknownSurface))
    return contradiction("the text of unknown tokens is not UTF-8");
  std::sort(sorted.begin(), sorted.end());
  std::sort(userDefined.begin(), userDefined.end());
  return {};
}

Result<void> SentencePieceEncoder::indexPiece(int32_t id) {
  const SentencePieceProto::Piece &piece = proto.pieces[size_t(id)];
  if (!isUtf8(piece.text))
    return contradiction("piece " + std::to_string(id) + " is not UTF-8");
  bool isMatchable = piece.type == PieceType::Normal || piece.type == PieceType::UserDefined ||
                     piece.type == PieceType::Unused;
  if (!(isMatchable ? matchable : reserved).emplace(piece.text, id).second)
    return contradiction("piece " + std::to_string(id) + " repeats the text of another");
  if (isMatchable)
    sorted.emplace_back(piece.text, id);
  if (piece.type == PieceType::UserDefined)
    userDefined.emplace_back(piece.text, id);
  if (piece.type == PieceType::Normal) {
    minScore = std::min(minScore, piece.score);
    maxScore = std::max(maxScore, piece.score);
  }
  if (piece.type == PieceType::Unknown) {
    if (unknownId != -1)
      return contradiction("two pieces are of type unknown");
    unknownId = id;
  }
  if (piece.type == PieceType::Byte) {
    std::optional<uint8_t> byte = byteOfPiece(piece.text);
    if (!byte || !proto.byteFallback)
      return contradiction("piece " + std::to_string(id) + " is of type byte, which does not fit");
    byteIds[*byte] = id;
  }
  return {};
}

std::optional<int32_t> SentencePieceEncoder::pieceId(std::string_view text) const {
  for (const auto *table : {&reserved, &matchable})
    if (auto found = table->find(text); found != table->end())
      return found->second;
  return std::nullopt;
}

size_t SentencePieceEncoder::userDefinedPrefix(std::string_view text) const {
  size_t longest = 0;
  forEachPrefix(userDefined, text, [&](size_t length, int32_t) { longest = length; });
  return longest;
}

std::vector<int32_t> SentencePieceEncoder::encode(std::string_view text, bool addDummyPrefix) const {
  std::string normalized = normalizer.normalize(
      text, addDummyPrefix, [this](std::string_view rest) { return userDefinedPrefix(rest); });
  if (normalized.empty())
    return {};
  return toIds(proto.algorithm == SentencePieceProto::Algorithm::Bpe ? segmentBpe(normalized)
                                                                     : segmentUnigram(normalized));
}

std::vector<int32_t> SentencePieceEncoder::toIds(std::span<const Segment> segments) const {
  std::vector<int32_t> ids;
  bool afterUnknown = false;
  for (const Segment &segment : segments) {
    bool unknown = segment.id == unknownId;
    if (unknown && proto.byteFallback)
      for (char byte : segment.text)
        ids.push_back(byteIds[uint8_t(byte)]);
    else if (!unknown || !afterUnknown) // a run of unknown characters is one token
      ids.push_back(segment.id);
    afterUnknown = unknown;
  }
  return ids;
}

std::vector<SentencePieceEncoder::Segment> SentencePieceEncoder::segmentUnigram(std::string_view text) const {
  // The best path to each byte position: its last piece, where that starts, the sum of scores.
  // Sums are kept in f32, as the library does (0.2.3): rounding decides between nearly equal paths.
  struct Node {
    int32_t id = 0;
    float score = 0;
    size_t start = SIZE_MAX;
  };
  constexpr float unknownPenalty = 10.0f;
  const float unknownScore = minScore - unknownPenalty;
  std::vector<Node> best(text.size() + 1);
  auto offer = [&](size_t end, size_t start, int32_t id, double score) {
    if (best[end].start == SIZE_MAX || score > best[end].score)
      best[end] = {id, float(score), start};
  };
  for (size_t start = 0; start < text.size();) {
    std::string_view rest = text.substr(start);
    size_t character = characterLength(rest);
    float before = best[start].score;
    bool covered = false;
    forEachPrefix(sorted, rest, [&](size_t length, int32_t id) {
      if (type(id) == PieceType::Unused)
        return;
      // A user-defined piece always wins: longer is better than any sum of normal pieces.
      if (type(id) == PieceType::UserDefined)
        offer(start + length, start, id, double(float(length) * maxScore) - 0.1 + before);
      else
        offer(start + length, start, id, proto.pieces[id].score + before);
      covered |= length == character;
    });
    if (!covered)
      offer(start + character, start, unknownId, unknownScore + before);
    start += character;
  }
  std::vector<Segment> segments;
  for (size_t end = text.size(); end > 0; end = best[end].start)
    segments.push_back({text.substr(best[end].start, end - best[end].start), best[end].id});
  std::reverse(segments.begin(), segments.end());
  return segments;
}

namespace {

constexpr size_t none = SIZE_MAX;

/// A symbol of the text being merged: its stretch, its neighbours, and whether it may merge.
struct Symbol {
  std::string_view text;
  size_t previous = none, next = none;
  bool frozen = false;
};

/// Two neighbours whose concatenation is a piece.
struct Merge {
  size_t left, right;
  float score;
  size_t size;
  /// A priority queue takes its largest first: the best score, then the leftmost.
  bool operator<(const Merge &other) const {
    return score < other.score || (score == other.score && left > other.left);
  }
};

std::string_view joined(std::string_view left, std::string_view right) {
  return {left.data(), left.size() + right.size()};
}

} // namespace

std::vector<SentencePieceEncoder::Segment> SentencePieceEncoder::segmentBpe(std::string_view text) const {
  std::vector<Symbol> symbols;
  for (std::string_view rest = text; !rest.empty();) {
    size_t kept = userDefinedPrefix(rest);
    size_t length = kept != 0 ? kept : characterLength(rest);
    size_t index = symbols.size();
    symbols.push_back({rest.substr(0, length), index == 0 ? none : index - 1, index + 1, kept != 0});
    rest.remove_prefix(length);
  }
  symbols.back().next = none;

  std::priority_queue<Merge> queue;
  // How each unused piece came about, to take it apart again at the end.
  std::unordered_map<std::string_view, std::pair<std::string_view, std::string_view>> partsOfUnused;
  auto propose = [&](size_t left, size_t right) {
    if (left == none || right == none || symbols[left].frozen || symbols[right].frozen)
      return;
    std::string_view piece = joined(symbols[left].text, symbols[right].text);
    auto found = matchable.find(piece);
    if (found == matchable.end())
      return;
    queue.push({left, right, proto.pieces[found->second].score, piece.size()});
    if (type(found->second) == PieceType::Unused)
      partsOfUnused[piece] = {symbols[left].text, symbols[right].text};
  };
  for (size_t i = 1; i < symbols.size(); ++i)
    propose(i - 1, i);
  while (!queue.empty()) {
    Merge merge = queue.top();
    queue.pop();
    Symbol &left = symbols[merge.left], &right = symbols[merge.right];
    bool stale =
        left.text.empty() || right.text.empty() || left.text.size() + right.text.size() != merge.size;
    if (stale)
      continue;
    left.text = joined(left.text, right.text);
    left.next = right.next;
    if (right.next != none)
      symbols[right.next].previous = merge.left;
    right.text = {};
    propose(left.previous, merge.left);
    propose(merge.left, left.next);
  }

  std::vector<Segment> segments;
  std::vector<std::string_view> pending;
  for (size_t index = 0; index != none; index = symbols[index].next) {
    pending.push_back(symbols[index].text);
    while (!pending.empty()) {
      std::string_view piece = pending.back();
      pending.pop_back();
      int32_t id = pieceId(piece).value_or(unknownId);
      auto parts = type(id) == PieceType::Unused ? partsOfUnused.find(piece) : partsOfUnused.end();
      if (parts == partsOfUnused.end()) {
        segments.push_back({piece, id});
        continue;
      }
      pending.push_back(parts->second.second);
      pending.push_back(parts->second.first);
    }
  }
  return segments;
}

namespace {

/// Appends bytes as UTF-8; a byte that fits no character becomes U+FFFD.
void appendBytes(std::string &text, std::string_view bytes) {
  while (!bytes.empty()) {
    size_t length = utf8Length(bytes);
    text += length == 0 ? replacementCharacter : bytes.substr(0, length);
    bytes.remove_prefix(std::max<size_t>(length, 1));
  }
}

void appendPiece(std::string &text, std::string_view piece) {
  for (size_t space; (space = piece.find(spaceSymbol)) != std::string_view::npos;) {
    text += piece.substr(0, space);
    text += ' ';
    piece.remove_prefix(space + spaceSymbol.size());
  }
  text += piece;
}

} // namespace

std::string SentencePieceEncoder::decode(std::span<const int32_t> ids) const {
  std::string text, bytes;
  // The first piece's space is the dummy prefix (or one that encoding would drop): it is not printed.
  bool mayStrip = normalizer.addsDummyPrefix() || normalizer.removesExtraWhitespace();
  bool atStart = true, stripped = false;
  for (int32_t id : ids) {
    if (id < 0 || size_t(id) >= proto.pieces.size())
      continue;
    std::string_view piece = proto.pieces[id].text;
    if (type(id) == PieceType::Byte) {
      bytes += char(*byteOfPiece(piece));
      continue;
    }
    appendBytes(text, bytes);
    bytes.clear();
    if (stripped || !text.empty())
      atStart = false;
    stripped = false;
    if (type(id) == PieceType::Control)
      continue;
    if (type(id) == PieceType::Unknown) {
      text += proto.unknownSurface;
      continue;
    }
    if (atStart && mayStrip && piece.starts_with(spaceSymbol)) {
      piece.remove_prefix(spaceSymbol.size());
      stripped = !normalizer.removesExtraWhitespace();
    }
    appendPiece(text, piece);
  }
  appendBytes(text, bytes);
  if (denormalizer)
    return denormalizer->normalize(text, denormalizer->addsDummyPrefix(),
                                   [](std::string_view) { return size_t(0); });
  return text;
}
