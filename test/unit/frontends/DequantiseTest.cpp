#include "support/Dequantise.h"
#include "frontends/Checkpoint.h"

#include <gtest/gtest.h>

#include <cstring>

using namespace fusebox;

namespace {

class DequantiseType : public testing::TestWithParam<DType> {};

TEST_P(DequantiseType, GivesTheReferenceBitForBit) {
  Result<Checkpoint> file = Checkpoint::open(FUSEBOX_TEST_DATA "/dequantise/values.safetensors");
  ASSERT_TRUE(file) << file.error().message;
  std::string type(dtypeName(GetParam()));
  const StoredTensor *blocks = file->find(type + ".blocks"), *values = file->find(type + ".values");
  ASSERT_TRUE(blocks && values) << type;
  std::vector<float> expected(size_t(values->elements())), actual(expected.size());
  std::memcpy(expected.data(), file->data(*values).data(), values->bytes);
  Result<void> done = dequantiseRow(GetParam(), file->data(*blocks), actual.size(), actual.data());
  ASSERT_TRUE(done) << done.error().message;
  for (size_t i = 0; i < actual.size(); ++i)
    ASSERT_EQ(std::bit_cast<uint32_t>(actual[i]), std::bit_cast<uint32_t>(expected[i]))
        << type << " value " << i << ": " << actual[i] << " for " << expected[i];
}

INSTANTIATE_TEST_SUITE_P(AllTypes, DequantiseType,
                         testing::Values(DType::F32, DType::F16, DType::BF16, DType::Q4_0, DType::Q4_1,
                                         DType::Q5_0, DType::Q5_1, DType::Q8_0, DType::Q4_K, DType::Q5_K,
                                         DType::Q6_K),
                         [](const auto &info) { return std::string(dtypeName(info.param)); });

TEST(Dequantise, RefusesSizesThatDisagree) {
  std::vector<std::byte> bytes(36);
  std::vector<float> out(64);
  EXPECT_TRUE(dequantiseRow(DType::Q4_0, bytes, 64, out.data()));
  EXPECT_FALSE(dequantiseRow(DType::Q4_0, bytes, 32, out.data()));
  EXPECT_FALSE(dequantiseRow(DType::Q4_0, std::span(bytes).first(17), 31, out.data()));
  EXPECT_FALSE(dequantiseRow(DType::I32, std::span(bytes).first(4), 1, out.data()));
  EXPECT_TRUE(dequantiseRow(DType::Q8_0, {}, 0, nullptr));
}

} // namespace
