#include "runtime/text/ChatTemplate.h"

#include "runtime/text/RustText.h"

#include <nlohmann/json.hpp>

using namespace fusebox;
// Templates see the keys of a message or tool in the order they were written.
using json = nlohmann::ordered_json;

namespace {

/// `{{ bos_token }}` and its kin: from tokenizer_config.json, where each is a string or an object with
/// `content`.
void addSpecialTokens(const TextAssets &assets, json &variables) {
  json config = json::parse(assets.tokenizerConfig, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object())
    return;
  for (const char *key : {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token"}) {
    auto found = config.find(key);
    if (found == config.end())
      continue;
    json token = found->is_object() && found->contains("content") ? json((*found)["content"]) : json(*found);
    if (token.is_string())
      variables[key] = token;
  }
}

Result<json> parseOption(const std::string &text, const char *name, bool object) {
  json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (object ? !value.is_object() : !value.is_array())
    return usageError(std::string("chat: ") + name + ": expected a JSON " + (object ? "object" : "list"));
  return value;
}

} // namespace

Result<std::string> fusebox::renderChat(const TextAssets &assets, const std::vector<ChatMessage> &messages,
                                        const ChatOptions &options) {
  json list = json::array();
  for (const ChatMessage &message : messages)
    list.push_back({{"role", message.role}, {"content", message.content}});
  return renderChatJson(assets, list.dump(-1, ' ', false, json::error_handler_t::replace), options);
}

Result<std::string> fusebox::renderChatJson(const TextAssets &assets, const std::string &messagesJson,
                                            const ChatOptions &options) {
  if (assets.chatTemplate.empty())
    return usageError("the model has no chat template: use --raw, or give it one in chat_template.jinja");
  json variables = json::object();
  addSpecialTokens(assets, variables);
  FUSEBOX_ASSIGN(variables["messages"], parseOption(messagesJson, "messages", /*object=*/false));
  variables["add_generation_prompt"] = options.addGenerationPrompt;
  if (!options.toolsJson.empty()) {
    FUSEBOX_ASSIGN(variables["tools"], parseOption(options.toolsJson, "tools", /*object=*/false));
  }
  if (!options.variablesJson.empty()) {
    FUSEBOX_ASSIGN(json more, parseOption(options.variablesJson, "variables", /*object=*/true));
    variables.update(more);
  }
  std::string context = variables.dump(-1, ' ', false, json::error_handler_t::replace);
  FuseboxTextBytes out, error;
  if (!fusebox_template_render(assets.chatTemplate.data(), assets.chatTemplate.size(), context.data(),
                               context.size(), &out, &error))
    return usageError("chat template: " + takeBytes(error) + "; check the messages, or use --raw");
  return takeBytes(out);
}
