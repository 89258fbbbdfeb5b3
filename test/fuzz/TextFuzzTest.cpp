// Damaged tokenizers, templates and text sections end in a clean error or in a tokenizer that works.
#include "runtime/text/ChatTemplate.h"
#include "runtime/text/GgufTokenizer.h"
#include "runtime/text/SentencePieceEncoder.h"
#include "runtime/text/Tokenizer.h"
#include "runtime/text/Utf8.h"
#include "test/fuzz/AllocationMeter.h"
#include "test/fuzz/MutationFuzzer.h"
#include "test/unit/text/TestFiles.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

using namespace fusebox;
using namespace fusebox::fuzz;
using namespace fusebox::test;

namespace {

std::string_view textOf(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char *>(bytes.data()), bytes.size()};
}

void expectCleanError(const Error &error) {
  ASSERT_TRUE(error.kind == ErrorKind::Model || error.kind == ErrorKind::Usage) << error.message;
  ASSERT_FALSE(error.message.empty());
}

/// Encodes, decodes and streams with a tokenizer that a damaged file was accepted as.
void exercise(const Tokenizer &tokenizer) {
  auto ids = tokenizer.encode("The quick <sep> brown 東京 🙂 \t<s>é 42", /*addSpecial=*/true);
  if (!ids)
    return expectCleanError(ids.error());
  for (bool skipSpecial : {true, false}) {
    auto text = tokenizer.decode(*ids, skipSpecial);
    if (!text)
      return expectCleanError(text.error());
    ASSERT_TRUE(isUtf8(*text));
  }
  StreamDecoder decoder(tokenizer, true);
  for (int32_t id : {int32_t(0), int32_t(7), tokenizer.vocabSize() - 1, INT32_MAX, int32_t(-1)})
    if (auto piece = decoder.push(id); !piece)
      return expectCleanError(piece.error());
}

/// The most memory the process has held, which counts the Rust side, too.
uint64_t peakResidentBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return uint64_t(usage.ru_maxrss) * 1024;
}
constexpr uint64_t residentLimit = uint64_t(1) << 30;

TEST(FuzzTextAssets, EndsInAnErrorOrInTheWholeSection) {
  TextAssets assets{TokenizerKind::SentencePiece, "model", "{\"a\": 1}", "{{ messages }}",
                    "{\"eos_token_id\": 2}"};
  std::vector<Bytes> seeds = {serializeTextAssets(assets), serializeTextAssets({})};
  uint64_t accepted = 0;
  fuzzMutations(seeds, [&](std::span<const std::byte> input) {
    uint64_t peak = peakOf([&] {
      auto parsed = parseTextAssets(input);
      if (!parsed)
        return expectCleanError(parsed.error());
      ++accepted;
      Bytes again = serializeTextAssets(*parsed);
      ASSERT_TRUE(std::ranges::equal(again, input));
      (void)readGenerationDefaults(*parsed);
    });
    ASSERT_LE(peak, (1 << 20) + 200 * input.size());
  });
  EXPECT_GT(accepted, 0u);
}

TEST(FuzzSentencePiece, EndsInAnErrorOrInATokenizer) {
  std::vector<Bytes> seeds;
  for (const char *name : {"bpe", "bpe-unused", "unigram-suffix", "unigram-unused"})
    seeds.push_back(bytesOf(readFile(data(std::string("sentencepiece/") + name + ".model"))));
  uint64_t accepted = 0;
  fuzzMutations(seeds, [&](std::span<const std::byte> input) {
    uint64_t peak = peakOf([&] {
      auto tokenizer = Tokenizer::fromSentencePiece(textOf(input), "");
      if (!tokenizer)
        return expectCleanError(tokenizer.error());
      ++accepted;
      exercise(*tokenizer);
    });
    ASSERT_LE(peak, (1 << 20) + 200 * input.size());
  });
  EXPECT_GT(accepted, 0u);
}

/// A character map alone, so that most mutations meet its trie.
TEST(FuzzSentencePieceCharacterMap, EndsInAnErrorOrInText) {
  auto proto = parseSentencePieceProto(readFile(data("sentencepiece/bpe-nfkc.model")));
  ASSERT_TRUE(proto);
  std::vector<Bytes> seeds = {bytesOf(proto->normalizer.charsMap)};
  SentencePieceProto::Normalizer spec = proto->normalizer;
  fuzzMutations(seeds, [&](std::span<const std::byte> input) {
    spec.charsMap = textOf(input);
    auto normalizer = SentencePieceNormalizer::create(spec, false);
    if (!normalizer)
      return expectCleanError(normalizer.error());
    for (std::string_view text : {"ﬁne ﬂow ① ２ Ａ 東京 é ﷺ", "plain text", "\xff\xfe\x80"})
      (void)normalizer->normalize(text, true, [](std::string_view) { return size_t(0); });
  });
}

TEST(FuzzTokenizerConfig, EndsInAnErrorOrInATokenizer) {
  std::string model = readFile(data("sentencepiece/unigram-suffix.model"));
  std::vector<Bytes> seeds = {bytesOf(
      R"({"tokenizer_class": "LlamaTokenizer", "legacy": false, "add_prefix_space": true, "bos_token": "<s>",
        "eos_token": {"content": "</s>", "lstrip": true}, "additional_special_tokens": ["<sep>", "<mask>"],
        "added_tokens_decoder": {"200": {"content": "<sep>", "special": true, "lstrip": true, "rstrip": true}}})")};
  Options options;
  options.dictionary = {"null", "true",         "-1",       "[]",      "{}",
                        "\"\"", "\"content\":", "16777215", "\\u0000", "\""};
  fuzzMutations(
      seeds,
      [&](std::span<const std::byte> input) {
        auto tokenizer = Tokenizer::fromSentencePiece(model, textOf(input));
        if (!tokenizer)
          return expectCleanError(tokenizer.error());
        exercise(*tokenizer);
      },
      options);
}

/// Small files of the two kinds in use: byte-level BPE, and Unigram with Metaspace and byte fallback.
std::vector<Bytes> smallTokenizerJsons() {
  GgufTokenizerData gguf;
  gguf.model = "gpt2";
  gguf.pre = "qwen2";
  gguf.tokens = {"<s>", "</s>", "T", "h", "e", "Ġ", "q", "u", "i", "c", "k", "Th", "The", "Ġq", "<sep>"};
  gguf.tokenTypes = {3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4};
  gguf.merges = {"T h", "Th e", "Ġ q"};
  gguf.bosId = 0;
  gguf.eosId = 1;
  gguf.addBos = gguf.addEos = true;
  return {bytesOf(textAssetsFromGguf(gguf)->tokenizer), bytesOf(R"({"version": "1.0", "truncation": null,
    "padding": null, "added_tokens": [{"id": 0, "content": "<unk>", "single_word": false, "lstrip": true,
    "rstrip": false, "normalized": true, "special": true}], "normalizer": {"type": "Sequence", "normalizers":
    [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
    "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true},
    "post_processor": null, "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern":
    {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ",
    "start": 1, "stop": 0}]}, "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": true, "vocab":
    [["<unk>", 0.0], ["▁", -2.5], ["▁The", -3.0], ["q", -4.0], ["<0x41>", -9.5]]}})")};
}

TEST(FuzzTokenizerJson, EndsInAnErrorOrInATokenizer) {
  Options options;
  options.dictionary = {"null",
                        "true",
                        "-1",
                        "4294967295",
                        "1e308",
                        "[]",
                        "{}",
                        "\"\"",
                        "\"type\":",
                        "\"Regex\":",
                        "(a*)*b",
                        "{1,999999999}",
                        "\\\\p{L}",
                        "\"Fixed\": 4294967295",
                        "\"dropout\": 0.5,",
                        "\"WordPiece\"",
                        "\"BPE\"",
                        "\"ByteLevel\"",
                        "\"NFKC\"",
                        "\"Digits\"",
                        "\"stride\": 1"};
  uint64_t accepted = 0;
  fuzzMutations(
      smallTokenizerJsons(),
      [&](std::span<const std::byte> input) {
        auto tokenizer = Tokenizer::fromHuggingFaceJson(textOf(input));
        if (!tokenizer)
          return expectCleanError(tokenizer.error());
        ++accepted;
        exercise(*tokenizer);
      },
      options);
  EXPECT_GT(accepted, 0u);
  EXPECT_LE(peakResidentBytes(), residentLimit);
}

TEST(FuzzChatTemplate, EndsInAnErrorOrInText) {
  std::vector<Bytes> seeds = {
      bytesOf(readFile(data("golden/smollm2-135m-instruct/chat_template.jinja"))),
      bytesOf(
          R"({%- set ns = namespace(found=false) -%}{% for m in messages[::-1] %}{% if m.role == "user" and not
        ns.found %}{% set ns.found = true %}{{ m.content.split(' ')[-1] | tojson(indent=2) }}{% continue %}{% endif %}
        {{ '<|' ~ m.get('role') | upper ~ '|>' + m['content'] | trim }}{% endfor %}{% macro f(x) %}{{ x }}{% endmacro %}
        {{ f(bos_token) }}{% generation %}{{ range(3) | list }}{% endgeneration %}{{ strftime_now('%d') }})")};
  Options options;
  options.dictionary = {"{{",
                        "}}",
                        "{%",
                        "%}",
                        "{#",
                        "for ",
                        "endfor",
                        "(",
                        ")",
                        "[",
                        "]",
                        " | ",
                        "messages",
                        "~",
                        "-",
                        "loop.index",
                        "raise_exception('x')",
                        "999999999",
                        "1.5e308",
                        "none",
                        "\"",
                        "'"};
  TextAssets assets;
  assets.tokenizerConfig = R"({"bos_token": "<s>"})";
  uint64_t accepted = 0;
  fuzzMutations(
      seeds,
      [&](std::span<const std::byte> input) {
        assets.chatTemplate = textOf(input);
        auto text = renderChat(assets, {{"system", "be brief"}, {"user", "hi there"}});
        if (!text)
          return expectCleanError(text.error());
        accepted += !text->empty();
      },
      options);
  EXPECT_GT(accepted, 0u);
  EXPECT_LE(peakResidentBytes(), residentLimit);
}

/// Metadata that the GGUF reader accepts, with values a file may hold.
TEST(FuzzGgufTokenizer, EndsInAnErrorOrInATokenizer) {
  auto proto = parseSentencePieceProto(readFile(data("sentencepiece/bpe.model")));
  ASSERT_TRUE(proto);
  GgufTokenizerData whole;
  for (const auto &piece : proto->pieces) {
    whole.tokens.push_back(piece.text);
    whole.scores.push_back(piece.score);
    whole.tokenTypes.push_back(int32_t(piece.type));
  }
  whole.merges = {"t h", "th e"};
  uint64_t accepted = 0;
  for (uint64_t n = 0; n < Options().iterations; ++n) {
    Random random(n);
    GgufTokenizerData gguf = whole;
    gguf.model = random.below(2) ? "llama" : "gpt2";
    for (uint64_t count = random.below(4); count > 0; --count) {
      size_t at = random.below(gguf.tokens.size());
      switch (random.below(9)) {
      case 0:
        gguf.tokens[at] = gguf.tokens[random.below(gguf.tokens.size())];
        break;
      case 1:
        gguf.tokens[at] += char(random.next());
        break;
      case 2:
        gguf.scores[at] = std::bit_cast<float>(uint32_t(random.next()));
        break;
      case 3:
        gguf.tokenTypes[at] = int32_t(random.below(8));
        break;
      case 4:
        gguf.scores.resize(at);
        break;
      case 5:
        gguf.merges.push_back(gguf.tokens[at] + (random.below(2) ? " " : "") + gguf.tokens[0]);
        break;
      case 6:
        gguf.bosId = uint32_t(random.below(2 * gguf.tokens.size()));
        break;
      case 7:
        gguf.unknownId = uint32_t(random.below(gguf.tokens.size()));
        break;
      default:
        gguf.addBos = gguf.addEos = gguf.addSpacePrefix = random.below(2) != 0;
        break;
      }
    }
    auto assets = textAssetsFromGguf(gguf);
    if (!assets) {
      expectCleanError(assets.error());
      continue;
    }
    auto tokenizer = Tokenizer::open(*assets);
    if (!tokenizer) {
      expectCleanError(tokenizer.error());
      continue;
    }
    ++accepted;
    exercise(*tokenizer);
  }
  EXPECT_GT(accepted, 0u);
}

} // namespace
