#include "frontends/gguf/GgufFile.h"
#include "frontends/gguf/GgufTokenizer.h"
#include "test/unit/frontends/TestFiles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace fusebox;
using namespace fusebox::test;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

std::string errorOf(const std::string &file) {
  Result<GgufHeader> header = parseGguf(asBytes(file), "m.gguf");
  if (header)
    return "no error";
  EXPECT_EQ(header.error().kind, ErrorKind::Model);
  EXPECT_THAT(header.error().message, HasSubstr("m.gguf"));
  return header.error().message;
}

TEST(Gguf, ReadsEveryTypeOfMetadata) {
  std::string nested = raw(uint32_t(9)) + raw(uint64_t(1)) + raw(uint32_t(5)) + raw(uint64_t(2)) +
                       raw(int32_t(-3)) + raw(int32_t(4));
  std::string file = GgufBuilder()
                         .entry("u8", 0, raw(uint8_t(200)))
                         .entry("i8", 1, raw(int8_t(-5)))
                         .entry("u16", 2, raw(uint16_t(65535)))
                         .entry("i16", 3, raw(int16_t(-7)))
                         .u32("u32", 4000000000u)
                         .entry("i32", 5, raw(int32_t(-9)))
                         .f32("f32", 0.5f)
                         .flag("bool", true)
                         .text("text", "value")
                         .entry("u64", 10, raw(UINT64_MAX))
                         .entry("i64", 11, raw(int64_t(-1)))
                         .entry("f64", 12, raw(0.1))
                         .texts("texts", {"a", "", "c"})
                         .numbers<float>("reals", 6, {1.5f, -2})
                         .numbers<int8_t>("small", 1, {-1, 3})
                         .entry("nested", 9, nested)
                         .build();
  Result<GgufHeader> header = parseGguf(asBytes(file), "m.gguf");
  ASSERT_TRUE(header) << header.error().message;
  const GgufMetadata &metadata = header->metadata;
  EXPECT_EQ(metadata.asInteger("u8"), 200);
  EXPECT_EQ(metadata.asInteger("i8"), -5);
  EXPECT_EQ(metadata.asInteger("u16"), 65535);
  EXPECT_EQ(metadata.asInteger("i16"), -7);
  EXPECT_EQ(metadata.asInteger("u32"), 4000000000);
  EXPECT_EQ(metadata.asInteger("i32"), -9);
  EXPECT_EQ(metadata.asReal("f32"), 0.5);
  EXPECT_EQ(metadata.asReal("i32"), -9.0) << "integers convert";
  EXPECT_EQ(metadata.asBool("bool"), true);
  EXPECT_EQ(metadata.asString("text"), "value");
  EXPECT_EQ(metadata.asInteger("u64"), std::nullopt) << "does not fit";
  EXPECT_EQ(metadata.asInteger("i64"), -1);
  EXPECT_EQ(metadata.asReal("f64"), 0.1);
  ASSERT_NE(metadata.asStrings("texts"), nullptr);
  EXPECT_THAT(*metadata.asStrings("texts"), ElementsAre("a", "", "c"));
  EXPECT_THAT(*metadata.asReals("reals"), ElementsAre(1.5f, -2.0f));
  EXPECT_THAT(*metadata.asIntegers("small"), ElementsAre(-1, 3));
  EXPECT_EQ(metadata.asIntegers("reals"), std::nullopt);
  EXPECT_EQ(metadata.asReals("texts"), std::nullopt);
  EXPECT_EQ(metadata.asString("u8"), std::nullopt);
  EXPECT_EQ(metadata.find("none"), nullptr);
  const auto &array = std::get<GgufArray>(*metadata.find("nested"));
  ASSERT_EQ(array.arrays.size(), 1u);
  EXPECT_EQ(array.arrays[0].count, 2u);
}

TEST(Gguf, ReadsTensorsOutermostDimensionFirst) {
  std::string file =
      GgufBuilder().tensor("q", 3, {2, 64}, std::string(80, 'x')).tensor("v", 30, {3}, "abcdef").build();
  Result<GgufHeader> header = parseGguf(asBytes(file), "m.gguf");
  ASSERT_TRUE(header) << header.error().message;
  ASSERT_EQ(header->tensors.size(), 2u);
  EXPECT_EQ(header->tensors[0].dtype, DType::Q4_1);
  EXPECT_EQ(header->tensors[0].shape, (std::vector<int64_t>{2, 64}));
  EXPECT_EQ(header->tensors[0].bytes, 80u);
  EXPECT_EQ(header->tensors[1].dtype, DType::BF16);
  EXPECT_EQ(file.substr(header->tensors[1].offset, 6), "abcdef");
}

TEST(Gguf, HonoursItsAlignment) {
  std::string header = "GGUF" + raw(uint32_t(3)) + raw(uint64_t(0)) + raw(uint64_t(1));
  auto with = [&](uint32_t alignment) {
    return header + raw(uint64_t(17)) + "general.alignment" + raw(uint32_t(4)) + raw(alignment);
  };
  EXPECT_EQ(errorOf(with(64)), "no error");
  EXPECT_THAT(errorOf(with(0)), HasSubstr("general.alignment"));
  EXPECT_THAT(errorOf(with(48)), HasSubstr("general.alignment"));
  EXPECT_THAT(errorOf(with(0x80000000u)), HasSubstr("general.alignment"));
}

TEST(Gguf, RefusesWhatIsNoGgufVersion3) {
  EXPECT_THAT(errorOf(""), HasSubstr("truncated"));
  EXPECT_THAT(errorOf("PK\3\4........................"), HasSubstr("not a GGUF file"));
  EXPECT_THAT(errorOf("GGUF" + raw(uint32_t(2)) + std::string(16, '\0')), HasSubstr("version 2"));
  EXPECT_THAT(errorOf("GGUF" + raw(uint32_t(0x03000000)) + std::string(16, '\0')), HasSubstr("big-endian"));
}

TEST(Gguf, RefusesCountsThatNoBytesBack) {
  std::string start = "GGUF" + raw(uint32_t(3));
  EXPECT_THAT(errorOf(start + raw(UINT64_MAX) + raw(uint64_t(0))), HasSubstr("truncated"));
  EXPECT_THAT(errorOf(start + raw(uint64_t(0)) + raw(uint64_t(1) << 40)), HasSubstr("truncated"));
  EXPECT_THAT(errorOf(GgufBuilder().entry("k", 9, raw(uint32_t(8)) + raw(uint64_t(1) << 60)).build()),
              HasSubstr("truncated"));
  EXPECT_THAT(errorOf(GgufBuilder().entry("k", 9, raw(uint32_t(10)) + raw(uint64_t(1) << 61)).build()),
              HasSubstr("truncated"));
  EXPECT_THAT(errorOf(GgufBuilder().entry("k", 8, raw(UINT64_MAX)).build()), HasSubstr("truncated"));
}

TEST(Gguf, RefusesEveryTruncation) {
  std::string whole = tinyLlamaGguf().build();
  for (size_t size = 0; size < whole.size(); size += size < 3000 ? 1 : 97) {
    Result<GgufHeader> header = parseGguf(asBytes(whole).first(size), "m.gguf");
    EXPECT_FALSE(header) << size;
  }
}

TEST(Gguf, RefusesDamagedDirectories) {
  EXPECT_THAT(errorOf(GgufBuilder().entry("k", 99, "").build()), HasSubstr("unknown type 99"));
  EXPECT_THAT(errorOf(GgufBuilder().u32("k", 1).u32("k", 2).build()), HasSubstr("'k' twice"));
  EXPECT_THAT(errorOf(GgufBuilder().zeros("a", {2}).zeros("a", {2}).build()), HasSubstr("'a' twice"));
  EXPECT_THAT(errorOf(GgufBuilder().tensor("a", 10, {256}, std::string(84, 'x')).build()),
              HasSubstr("ggml type 10"));
  EXPECT_THAT(errorOf(GgufBuilder().tensor("a", 2, {2, 33}, std::string(64, 'x')).build()),
              HasSubstr("shape that its type"));
  EXPECT_THAT(errorOf(GgufBuilder().tensor("a", 0, {1, 1, 1, 1, 1, 1, 1, 1, 1}, "abcd").build()),
              HasSubstr("9 dimensions"));
  EXPECT_THAT(errorOf(GgufBuilder().tensor("a", 0, {4}, "abcd").build()), HasSubstr("the file ends at"));
  std::string nested;
  for (int depth = 0; depth < 6; ++depth)
    nested += raw(uint32_t(9)) + raw(uint64_t(1));
  EXPECT_THAT(errorOf(GgufBuilder().entry("k", 9, nested + std::string(64, '\0')).build()),
              HasSubstr("nested deeper"));
}

TEST(Gguf, HandsOverItsTokenizer) {
  GgufBuilder gguf = tinyLlamaGguf();
  gguf.text("tokenizer.ggml.model", "llama").flag("tokenizer.ggml.add_bos_token", false);
  gguf.numbers<float>("tokenizer.ggml.scores", 6, {0, 0, 0, -1, -2.5f});
  gguf.numbers<int32_t>("tokenizer.ggml.token_type", 5, {2, 3, 3, 1, 1});
  gguf.texts("tokenizer.ggml.merges", {"a b"}).text("tokenizer.chat_template", "{{ messages }}");
  std::string file = gguf.build();
  Result<GgufHeader> header = parseGguf(asBytes(file), "m.gguf");
  ASSERT_TRUE(header) << header.error().message;
  Result<GgufTokenizerData> data = readGgufTokenizer(header->metadata);
  ASSERT_TRUE(data) << data.error().message;
  EXPECT_EQ(data->model, "llama");
  EXPECT_THAT(data->tokens, ElementsAre("<unk>", "<s>", "</s>", "a", "b"));
  EXPECT_THAT(data->scores, ElementsAre(0, 0, 0, -1, -2.5f));
  EXPECT_THAT(data->tokenTypes, ElementsAre(2, 3, 3, 1, 1));
  EXPECT_THAT(data->merges, ElementsAre("a b"));
  EXPECT_EQ(data->bosId, 1u);
  EXPECT_EQ(data->eosId, 2u);
  EXPECT_EQ(data->padId, std::nullopt);
  EXPECT_EQ(data->addBos, false);
  EXPECT_EQ(data->addEos, std::nullopt);
  EXPECT_EQ(data->chatTemplate, "{{ messages }}");
}

TEST(Gguf, RefusesTokenizerKeysOfTheWrongType) {
  auto errorWith = [](auto change) {
    GgufBuilder gguf;
    change(gguf);
    std::string file = gguf.build();
    Result<GgufHeader> header = parseGguf(asBytes(file), "m.gguf");
    Result<GgufTokenizerData> data = readGgufTokenizer(header->metadata);
    return data ? "no error" : data.error().message;
  };
  EXPECT_EQ(errorWith([](GgufBuilder &g) {}), "no error") << "no tokenizer";
  EXPECT_THAT(errorWith([](GgufBuilder &g) { g.u32("tokenizer.ggml.tokens", 1); }),
              HasSubstr("a list of texts"));
  EXPECT_THAT(errorWith([](GgufBuilder &g) { g.texts("tokenizer.ggml.scores", {"a"}); }),
              HasSubstr("list of numbers"));
  EXPECT_THAT(errorWith([](GgufBuilder &g) { g.entry("tokenizer.ggml.bos_token_id", 5, raw(int32_t(-1))); }),
              HasSubstr("'tokenizer.ggml.bos_token_id' must be a token id"));
}

} // namespace
