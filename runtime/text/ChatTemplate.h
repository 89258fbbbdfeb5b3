// Chat templates: messages to the prompt text a model was trained on. Jinja with the semantics of Hugging
// Face's apply_chat_template (rust/src/template.rs says which).
#pragma once

#include "runtime/text/TextAssets.h"

#include <string>
#include <vector>

namespace fusebox {

struct ChatMessage {
  std::string role, content;
};

struct ChatOptions {
  bool addGenerationPrompt = true; ///< end with the beginning of the assistant's turn
  std::string toolsJson;           ///< a JSON list of tools for the template's `tools`; empty: none
  std::string variablesJson; ///< a JSON object of further variables ("enable_thinking": false); empty: none
};

/// The prompt's text; encode it with addSpecial = false, as templates write BOS themselves.
/// Fails with ErrorKind::Usage when there is no template or it refuses the messages (`raise_exception`).
Result<std::string> renderChat(const TextAssets &assets, const std::vector<ChatMessage> &messages,
                               const ChatOptions &options = {});

/// The same for messages with more fields than role and content: a JSON list of objects.
Result<std::string> renderChatJson(const TextAssets &assets, const std::string &messagesJson,
                                   const ChatOptions &options = {});

} // namespace fusebox
