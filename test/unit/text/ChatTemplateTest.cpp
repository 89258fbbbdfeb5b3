// What templates of real models rely on, beyond the goldens' cases.

#include "runtime/text/ChatTemplate.h"
#include "TestFiles.h"

using namespace fusebox;

namespace {

std::string render(const std::string &source, const std::string &messages = "[]",
                   const ChatOptions &options = {}) {
  TextAssets assets;
  assets.chatTemplate = source;
  assets.tokenizerConfig = R"({"bos_token": "<s>", "eos_token": {"content": "</s>"}})";
  auto text = renderChatJson(assets, messages, options);
  EXPECT_TRUE(text) << text.error().message;
  return text ? *text : "";
}

TEST(ChatTemplateTest, TrimsBlocksLikeTransformers) {
  EXPECT_EQ(render("{% if true %}\n  a\n  {% endif %}\nb\n"), "  a\nb");
  EXPECT_EQ(render("  {%- for i in [1, 2] -%}\n x{{ i }} \n{%- endfor -%}  "), "x1x2");
}

TEST(ChatTemplateTest, GivesTheModelsSpecialTokens) {
  EXPECT_EQ(render("{{ bos_token }}|{{ eos_token }}"), "<s>|</s>");
}

TEST(ChatTemplateTest, HasPythonsStringAndDictMethods) {
  EXPECT_EQ(
      render("{{ ' a '.strip() }}{{ 'a-b'.split('-')[-1] }}{{ 'xa'.startswith('x') }}{{ 'AB'.lower() }}"),
      "abTrueab");
  EXPECT_EQ(render("{% for k, v in {'b': 1, 'a': 2}.items() %}{{ k }}{{ v }}{% endfor %}"), "b1a2");
  EXPECT_EQ(render("{{ messages[0].get('name', 'none') }}{{ messages[0]['content'][1:] }}",
                   R"([{"role": "user", "content": "xyz"}])"),
            "noneyz");
}

TEST(ChatTemplateTest, HasLoopControlsAndNamespaces) {
  EXPECT_EQ(render("{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 4 %}{% break "
                   "%}{% endif %}"
                   "{{ i }}{% endfor %}"),
            "023");
  EXPECT_EQ(render("{% set ns = namespace(n=0) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i %}{% endfor "
                   "%}{{ ns.n }}"),
            "3");
}

TEST(ChatTemplateTest, WritesJsonAsPythonDoes) {
  EXPECT_EQ(
      render("{{ messages[0] | tojson }}", R"([{"z": "<é>&'", "a": [1, 2.0, 1e20, true, null], "e": {}}])"),
      R"({"z": "<é>&'", "a": [1, 2.0, 1e+20, true, null], "e": {}})");
  EXPECT_EQ(render("{{ {'a': [1, {'b': 2}], 'c': []} | tojson(indent=2) }}"),
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": 2\n    }\n  ],\n  \"c\": []\n}");
  EXPECT_EQ(render("{{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':')) }}"),
            R"({"a":2,"b":1})");
}

TEST(ChatTemplateTest, PrintsValuesAsPythonDoes) {
  EXPECT_EQ(render("{{ none }} {{ true }} {{ 1.0 }} {{ ['a', 'it\\'s', none] }} {{ {'k': false} }}"),
            R"(None True 1.0 ['a', "it's", None] {'k': False})");
}

TEST(ChatTemplateTest, PassesToolsAndVariables) {
  ChatOptions options;
  options.toolsJson = R"([{"name": "f"}])";
  options.variablesJson = R"({"enable_thinking": false})";
  EXPECT_EQ(render("{{ tools[0].name }}{{ enable_thinking is defined and enable_thinking is false }}", "[]",
                   options),
            "fTrue");
  EXPECT_EQ(render("{% if tools %}tools{% else %}none{% endif %}{{ tools is none }}"), "noneTrue");
}

TEST(ChatTemplateTest, GenerationBlocksPrintTheirBody) {
  EXPECT_EQ(render("a{% generation %}b{% endgeneration %}{%- generation -%} c {%- endgeneration -%} d"),
            "abcd");
}

TEST(ChatTemplateTest, TellsTheDate) {
  EXPECT_THAT(render("{{ strftime_now('%Y-%m-%d') }}"),
              testing::MatchesRegex("20[0-9][0-9]-[0-9][0-9]-[0-9][0-9]"));
}

TEST(ChatTemplateTest, ReportsWhatTheTemplateRefuses) {
  TextAssets assets;
  EXPECT_EQ(renderChat(assets, {}).error().kind, ErrorKind::Usage);
  assets.chatTemplate = "{{ raise_exception('roles must alternate') }}";
  auto text = renderChat(assets, {{"user", "hi"}});
  ASSERT_FALSE(text);
  EXPECT_THAT(text.error().message, testing::HasSubstr("roles must alternate"));
  for (std::string broken : {"{% for %}", "{{ nothing.at.all }}",
                             "{% for i in range(100000) %}{% for j in range(100000) %}"
                             "{% endfor %}{% endfor %}"}) {
    assets.chatTemplate = broken;
    EXPECT_FALSE(renderChat(assets, {{"user", "hi"}})) << broken;
  }
  assets.chatTemplate = "x";
  EXPECT_EQ(renderChatJson(assets, "{}").error().kind, ErrorKind::Usage);
}

} // namespace
