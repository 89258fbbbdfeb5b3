// The cases of a golden's tokenizer_cases.json, which transformers made: ids, decoded text and chat prompts.
#pragma once

#include "runtime/text/ChatTemplate.h"
#include "runtime/text/Tokenizer.h"
#include "test/unit/text/TestFiles.h"

namespace fusebox::test {

/// `withSpecial` is the key of the ids with special tokens: "ids_with_special", or "ids" for a tokenizer that
/// adds none where the golden's does.
inline void expectIdsAndText(const nlohmann::json &cases, const Tokenizer &tokenizer,
                             const char *withSpecial = "ids_with_special") {
  ASSERT_FALSE(cases["cases"].empty());
  for (const auto &entry : cases["cases"]) {
    std::string text = entry["text"];
    SCOPED_TRACE(text);
    auto ids = entry["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(*tokenizer.encode(text, /*addSpecial=*/false), ids);
    EXPECT_EQ(*tokenizer.encode(text, /*addSpecial=*/true), entry[withSpecial].get<std::vector<int32_t>>());
    EXPECT_EQ(*tokenizer.decode(ids, /*skipSpecial=*/false), entry["decoded"].get<std::string>());
    EXPECT_EQ(*tokenizer.decode(ids, /*skipSpecial=*/true), entry["decoded_skip_special"].get<std::string>());
  }
}

inline void expectChatPrompts(const nlohmann::json &cases, const TextAssets &assets) {
  ASSERT_FALSE(cases["chat"].empty());
  for (const auto &entry : cases["chat"]) {
    ChatOptions options;
    options.addGenerationPrompt = entry["add_generation_prompt"];
    auto text = renderChatJson(assets, entry["messages"].dump(), options);
    ASSERT_TRUE(text) << text.error().message;
    EXPECT_EQ(*text, entry["text"].get<std::string>());
  }
}

} // namespace fusebox::test
