#include "TestFiles.h"
#include "runtime/text/LoadText.h"
#include "runtime/text/Tokenizer.h"
#include "runtime/text/Utf8.h"

#include <random>

using namespace fusebox;
using namespace fusebox::test;

namespace {

/// Streams `ids`; checks that no piece splits a character and that the pieces are decode() of them all.
void expectStreamEqualsDecode(const Tokenizer &tokenizer, const std::vector<int32_t> &ids, bool skipSpecial) {
  StreamDecoder decoder(tokenizer, skipSpecial);
  std::string text;
  for (int32_t id : ids) {
    auto piece = decoder.push(id);
    ASSERT_TRUE(piece);
    EXPECT_TRUE(isUtf8(*piece));
    text += *piece;
  }
  text += *decoder.finish();
  EXPECT_EQ(text, *tokenizer.decode(ids, skipSpecial)) << testing::PrintToString(ids);
}

void expectStreamsEqual(const Tokenizer &tokenizer, int rounds) {
  std::mt19937 random(7);
  for (int round = 0; round < rounds; ++round) {
    std::vector<int32_t> ids(1 + random() % 12);
    // Half of the ids from the low end, where the single bytes and special tokens are.
    for (int32_t &id : ids)
      id = int32_t(random() % uint32_t(random() % 2 ? tokenizer.vocabSize() : 260));
    expectStreamEqualsDecode(tokenizer, ids, round % 2 == 0);
  }
}

TEST(StreamDecoderTest, ByteLevelPiecesJoinToTheWhole) {
  auto assets = loadTextAssets(data("golden/smollm2-135m-instruct"));
  auto tokenizer = Tokenizer::open(*assets);
  ASSERT_TRUE(tokenizer);
  expectStreamsEqual(*tokenizer, 300);
}

TEST(StreamDecoderTest, SentencePiecePiecesJoinToTheWhole) {
  for (std::string name : {"bpe", "bpe-nfkc", "unigram", "unigram-suffix"}) {
    SCOPED_TRACE(name);
    auto tokenizer = Tokenizer::fromSentencePiece(readFile(data("sentencepiece/" + name + ".model")), "");
    ASSERT_TRUE(tokenizer);
    expectStreamsEqual(*tokenizer, 300);
  }
}

TEST(StreamDecoderTest, HoldsACharacterUntilItIsWhole) {
  auto assets = loadTextAssets(data("golden/smollm2-135m-instruct"));
  auto tokenizer = Tokenizer::open(*assets);
  ASSERT_TRUE(tokenizer);
  std::vector<int32_t> ids = *tokenizer->encode("🦀", false);
  ASSERT_GT(ids.size(), 1u);
  StreamDecoder decoder(*tokenizer, true);
  for (size_t i = 0; i + 1 < ids.size(); ++i)
    EXPECT_EQ(*decoder.push(ids[i]), "");
  EXPECT_EQ(*decoder.push(ids.back()), "🦀");
  EXPECT_EQ(*decoder.push(ids.front()), "");
  EXPECT_EQ(*decoder.finish(), "\xEF\xBF\xBD");
}

} // namespace
