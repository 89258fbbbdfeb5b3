// Reading test data.
#pragma once

#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

namespace fusebox::test {

inline std::string readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path
                           << " is missing; tools/fetch_test_models.sh fetches what is under .cache/test";
  return {std::istreambuf_iterator<char>(file), {}};
}

inline nlohmann::json readJson(const std::string &path) {
  auto value = nlohmann::json::parse(readFile(path), nullptr, /*allow_exceptions=*/false);
  EXPECT_FALSE(value.is_discarded()) << path;
  return value;
}

inline std::string data(const std::string &name) { return std::string(FUSEBOX_TEST_DATA "/") + name; }

} // namespace fusebox::test
