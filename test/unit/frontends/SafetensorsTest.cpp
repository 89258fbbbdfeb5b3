#include "frontends/Checkpoint.h"
#include "frontends/safetensors/SafetensorsHeader.h"
#include "test/unit/frontends/TestFiles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace fusebox;
using namespace fusebox::test;
using testing::HasSubstr;

namespace {

std::string errorOf(const std::string &file) {
  Result<std::vector<StoredTensor>> result = parseSafetensors(asBytes(file), "m.safetensors");
  if (result)
    return "no error";
  EXPECT_EQ(result.error().kind, ErrorKind::Model);
  EXPECT_THAT(result.error().message, HasSubstr("m.safetensors"));
  return result.error().message;
}

TEST(Safetensors, ReadsNamesTypesShapesAndPlaces) {
  std::string file = safetensors(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},)"
      R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
      R"("e":{"dtype":"I64","shape":[0,7],"data_offsets":[16,16]}})",
      16);
  Result<std::vector<StoredTensor>> tensors = parseSafetensors(asBytes(file), "m");
  ASSERT_TRUE(tensors) << tensors.error().message;
  ASSERT_EQ(tensors->size(), 3u);
  uint64_t dataStart = file.size() - 16;
  for (const StoredTensor &tensor : *tensors) {
    if (tensor.name == "a") {
      EXPECT_EQ(tensor.dtype, DType::F32);
      EXPECT_EQ(tensor.elements(), 1);
      EXPECT_EQ(tensor.offset, dataStart);
    } else if (tensor.name == "b") {
      EXPECT_EQ(tensor.shape, (std::vector<int64_t>{2, 3}));
      EXPECT_EQ(tensor.offset, dataStart + 4);
      EXPECT_EQ(tensor.bytes, 12u);
    } else {
      EXPECT_EQ(tensor.elements(), 0);
    }
  }
}

TEST(Safetensors, RefusesDamagedHeaders) {
  EXPECT_THAT(errorOf(""), HasSubstr("too short"));
  EXPECT_THAT(errorOf(raw(uint64_t(100)) + "{}"), HasSubstr("ends inside its header"));
  EXPECT_THAT(errorOf(raw(UINT64_MAX) + "{}"), HasSubstr("more than the format allows"));
  EXPECT_THAT(errorOf(raw(maxSafetensorsHeader + 1) + "{}"), HasSubstr("more than the format allows"));
  EXPECT_THAT(errorOf(safetensors("{\"a\":", 0)), HasSubstr("not valid JSON"));
  EXPECT_THAT(errorOf(safetensors("[]", 0)), HasSubstr("no JSON object"));
  EXPECT_THAT(errorOf(safetensors(R"({"a":{"dtype":"F32","shape":[1]}})", 4)), HasSubstr("lacks dtype"));
  EXPECT_THAT(errorOf(safetensors(R"({"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}})", 4)),
              HasSubstr("has the type \"F8_E4M3\""));
  EXPECT_THAT(errorOf(safetensors(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4)),
              HasSubstr("not a size"));
  EXPECT_THAT(errorOf(safetensors(std::string(R"({"a":)") + std::string(100, '['), 0)),
              HasSubstr("nested deeper"));
}

TEST(Safetensors, RefusesRangesThatCantBe) {
  auto entry = [](const char *name, const char *shape, const char *offsets) {
    return std::string("\"") + name + R"(":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" +
           offsets + "}";
  };
  EXPECT_THAT(errorOf(safetensors("{" + entry("a", "[2]", "[0,4]") + "}", 4)),
              HasSubstr("has 4 bytes where its shape and type need 8"));
  EXPECT_THAT(errorOf(safetensors("{" + entry("a", "[2]", "[8,0]") + "}", 8)), HasSubstr("no range"));
  EXPECT_THAT(errorOf(safetensors("{" + entry("a", "[2]", "[0,8]") + "}", 4)), HasSubstr("the file ends at"));
  EXPECT_THAT(
      errorOf(safetensors("{" + entry("a", "[2]", "[0,8]") + "," + entry("b", "[2]", "[4,12]") + "}", 12)),
      HasSubstr("share bytes"));
  EXPECT_THAT(errorOf(safetensors("{" + entry("a", "[2]", "[4,12]") + "}", 12)),
              HasSubstr("belong to no tensor"));
  EXPECT_THAT(errorOf(safetensors("{" + entry("a", "[2]", "[0,8]") + "}", 12)),
              HasSubstr("belong to no tensor"));
  EXPECT_THAT(errorOf(safetensors("{" + entry("a", "[4611686018427387904,4]", "[0,0]") + "}", 0)),
              HasSubstr("larger than any file"));
  EXPECT_THAT(
      errorOf(safetensors("{" + entry("a", "[0,9223372036854775807,9223372036854775807]", "[0,0]") + "}", 0)),
      HasSubstr("larger than any file"));
  EXPECT_THAT(
      errorOf(safetensors("{" + entry("a", "[0]", "[18446744073709551615,18446744073709551615]") + "}", 0)),
      HasSubstr("outside the file"));
  EXPECT_THAT(
      errorOf(safetensors("{" + entry("a", "[1]", "[0,4]") + "," + entry("a", "[1]", "[4,8]") + "}", 8)),
      HasSubstr("'a' occurs twice"));
}

TEST(Safetensors, MapsASingleFileAndAFolderOfOne) {
  TemporaryFolder folder;
  std::string path = folder.write("model.safetensors", safetensors({{"x", {2, 2}}, {"a", {3}}}));
  for (const std::string &model : {path, folder.path()}) {
    Result<Checkpoint> checkpoint = Checkpoint::open(model);
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    EXPECT_FALSE(checkpoint->isGguf());
    ASSERT_EQ(checkpoint->tensors().size(), 2u);
    EXPECT_EQ(checkpoint->tensors()[0].name, "a") << "in order of name";
    ASSERT_NE(checkpoint->find("x"), nullptr);
    EXPECT_EQ(checkpoint->find("y"), nullptr);
    std::span<const std::byte> data = checkpoint->data(*checkpoint->find("x")),
                               file = checkpoint->files()[0].bytes();
    EXPECT_EQ(data.size(), 8u);
    EXPECT_GE(data.data(), file.data()) << "mapped, not copied";
    EXPECT_LE(data.data() + data.size(), file.data() + file.size());
  }
}

TEST(Safetensors, ReadsShardsByTheirIndex) {
  TemporaryFolder folder;
  folder.write("one.safetensors", safetensors({{"a", {2}}}));
  folder.write("two.safetensors", safetensors({{"b", {4}}}));
  folder.write("model.safetensors.index.json",
               R"({"metadata":{},"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  Result<Checkpoint> checkpoint = Checkpoint::open(folder.path());
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  ASSERT_EQ(checkpoint->files().size(), 2u);
  EXPECT_EQ(checkpoint->files()[checkpoint->find("b")->file].path(), folder.path("two.safetensors"));
  EXPECT_EQ(checkpoint->data(*checkpoint->find("b")).size(), 8u);
}

TEST(Safetensors, RefusesShardsThatDisagreeWithTheirIndex) {
  auto open = [](const std::string &map) {
    TemporaryFolder folder;
    folder.write("one.safetensors", safetensors({{"a", {2}}}));
    folder.write("two.safetensors", safetensors({{"b", {4}}, {"c", {1}}}));
    folder.write("model.safetensors.index.json", R"({"weight_map":)" + map + "}");
    Result<Checkpoint> checkpoint = Checkpoint::open(folder.path());
    return checkpoint ? "no error" : checkpoint.error().message;
  };
  EXPECT_THAT(open(R"({"a":"one.safetensors","b":"two.safetensors"})"), HasSubstr("holds tensor 'c'"));
  EXPECT_THAT(open(R"({"a":"one.safetensors","b":"two.safetensors","c":"one.safetensors"})"),
              HasSubstr("'c'"));
  EXPECT_THAT(open(R"({"a":"one.safetensors","d":"one.safetensors"})"), HasSubstr("lacks tensor 'd'"));
  EXPECT_THAT(open(R"({"a":"none.safetensors"})"), HasSubstr("none.safetensors"));
  EXPECT_THAT(open(R"({"a":"../one.safetensors"})"), HasSubstr("plain file name"));
  EXPECT_THAT(open("{}"), HasSubstr("empty"));
  EXPECT_THAT(open("[]"), HasSubstr("weight_map"));
}

TEST(Safetensors, SaysWhatAFolderWithoutWeightsLacks) {
  TemporaryFolder folder;
  Result<Checkpoint> checkpoint = Checkpoint::open(folder.path());
  ASSERT_FALSE(checkpoint);
  EXPECT_THAT(checkpoint.error().message, HasSubstr("model.safetensors.index.json"));
  EXPECT_THAT(Checkpoint::open(folder.write("weights.bin", "")).error().message,
              HasSubstr("neither a folder nor"));
  EXPECT_FALSE(Checkpoint::open(folder.path("missing.safetensors")));
}

TEST(Safetensors, ReadsAGoldenModel) {
  Result<Checkpoint> checkpoint = Checkpoint::open(FUSEBOX_TEST_DATA "/golden/qwen3");
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const StoredTensor *tensor = checkpoint->find("model.layers.2.self_attn.k_norm.weight");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->dtype, DType::BF16);
  EXPECT_EQ(tensor->shape, std::vector<int64_t>{64});
}

} // namespace
