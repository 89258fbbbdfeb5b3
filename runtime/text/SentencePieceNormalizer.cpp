#include "runtime/text/SentencePieceEncoder.h"
#include "runtime/text/Utf8.h"

#include <cstring>

using namespace fusebox;

static constexpr std::string_view spaceSymbol = "\xE2\x96\x81"; // U+2581
static constexpr std::string_view replacementCharacter = "\xEF\xBF\xBD";

Result<SentencePieceNormalizer> SentencePieceNormalizer::create(const SentencePieceProto::Normalizer &spec,
                                                                bool whitespaceAsSuffix) {
  SentencePieceNormalizer normalizer;
  normalizer.spec = spec;
  normalizer.whitespaceAsSuffix = whitespaceAsSuffix;
  std::string_view map = spec.charsMap;
  if (map.empty())
    return normalizer;
  // The map is the trie's size in bytes (u32), its units, then replacement strings each ending in NUL.
  uint32_t trieBytes = 0;
  if (map.size() > sizeof(trieBytes))
    std::memcpy(&trieBytes, map.data(), sizeof(trieBytes));
  map.remove_prefix(std::min(map.size(), sizeof(trieBytes)));
  if (trieBytes == 0 || trieBytes % sizeof(uint32_t) != 0 || trieBytes >= map.size() || map.back() != '\0')
    return modelError("tokenizer.model: the character map is damaged; fetch the file again");
  normalizer.trie.resize(trieBytes / sizeof(uint32_t));
  std::memcpy(normalizer.trie.data(), map.data(), trieBytes);
  normalizer.replacements = map.substr(trieBytes);
  normalizer.spec.charsMap.clear();
  return normalizer;
}

SentencePieceNormalizer::Step SentencePieceNormalizer::longestRule(std::string_view text) const {
  Step best{{}, 0};
  if (trie.empty())
    return best;
  auto offset = [](uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); };
  uint32_t position = offset(trie[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    uint8_t label = uint8_t(text[i]);
    position ^= label;
    if (position >= trie.size() || (trie[position] & 0x800000FFu) != label)
      break;
    uint32_t unit = trie[position];
    position ^= offset(unit);
    bool hasValue = (unit >> 8) & 1;
    if (!hasValue || position >= trie.size())
      continue;
    uint32_t start = trie[position] & 0x7FFFFFFFu;
    if (start < replacements.size()) // the last replacement's NUL ends them all
      best = {replacements.c_str() + start, i + 1};
  }
  return best;
}

SentencePieceNormalizer::Step
SentencePieceNormalizer::rewriteFront(std::string_view text,
                                      const std::function<size_t(std::string_view)> &keepWhole) const {
  if (size_t kept = keepWhole(text))
    return {text.substr(0, kept), kept};
  Step rule = longestRule(text);
  if (rule.consumed != 0)
    return rule;
  size_t length = utf8Length(text);
  return length == 0 ? Step{replacementCharacter, 1} : Step{text.substr(0, length), length};
}

std::string
SentencePieceNormalizer::normalize(std::string_view text, bool addDummyPrefix,
                                   const std::function<size_t(std::string_view)> &keepWhole) const {
  std::string_view space = spec.escapeWhitespace ? spaceSymbol : " ";
  while (spec.removeExtraWhitespace && !text.empty()) {
    Step step = rewriteFront(text, keepWhole);
    if (step.replacement != " ")
      break;
    text.remove_prefix(step.consumed);
  }
  if (text.empty())
    return {};

  std::string out;
  if (addDummyPrefix && !whitespaceAsSuffix)
    out += space;
  bool afterSpace = spec.removeExtraWhitespace;
  while (!text.empty()) {
    Step step = rewriteFront(text, keepWhole);
    text.remove_prefix(step.consumed);
    std::string_view piece = step.replacement;
    while (afterSpace && piece.starts_with(' '))
      piece.remove_prefix(1);
    for (char c : piece) {
      if (c == ' ')
        out += space;
      else
        out += c;
    }
    if (!piece.empty())
      afterSpace = spec.removeExtraWhitespace && piece.ends_with(' ');
  }
  while (spec.removeExtraWhitespace && out.ends_with(space))
    out.resize(out.size() - space.size());
  if (addDummyPrefix && whitespaceAsSuffix)
    out += space;
  return out;
}
