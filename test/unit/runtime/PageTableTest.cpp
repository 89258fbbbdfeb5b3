#include "runtime/session/PageTable.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <set>

using namespace fusebox;
using testing::HasSubstr;

static Result<void> extend(PageTable &table, std::vector<int32_t> slots, std::vector<uint32_t> counts) {
  return table.extend(slots, counts);
}

TEST(PageTable, GivesOutPagesAsTokensCome) {
  PageTable table(2, 10, 500);
  ASSERT_TRUE(extend(table, {0, 1}, {64, 65}));
  EXPECT_EQ(table.pages(0).size(), 1u);
  EXPECT_EQ(table.pages(1).size(), 2u);
  ASSERT_TRUE(extend(table, {0}, {1}));
  EXPECT_EQ(table.pages(0).size(), 2u);
  EXPECT_EQ(table.freePages(), 6u);
  std::set<int32_t> used(table.pages(0).begin(), table.pages(0).end());
  used.insert(table.pages(1).begin(), table.pages(1).end());
  EXPECT_EQ(used.size(), 4u) << "no page has two owners";
}

TEST(PageTable, FullCacheChangesNothing) {
  PageTable table(3, 4, 500);
  ASSERT_TRUE(extend(table, {0}, {100}));
  auto result = extend(table, {1, 2}, {64, 65});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::Resource);
  EXPECT_THAT(result.error().message, HasSubstr("3 pages of 64 tokens are wanted, 2 are free"));
  EXPECT_EQ(table.length(1), 0u);
  EXPECT_EQ(table.freePages(), 2u);
  table.truncate(0, 64);
  EXPECT_TRUE(extend(table, {1, 2}, {64, 65}));
  EXPECT_EQ(table.freePages(), 0u);
}

TEST(PageTable, ContextIsALimitOfEachSlot) {
  PageTable table(2, 100, 130);
  EXPECT_FALSE(extend(table, {0, 1}, {1, 131}));
  EXPECT_EQ(table.length(0), 0u);
  EXPECT_TRUE(extend(table, {0, 1}, {130, 130}));
  EXPECT_FALSE(extend(table, {1}, {UINT32_MAX}));
}
