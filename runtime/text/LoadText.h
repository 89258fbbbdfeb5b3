// Reads the text files of a Hugging Face folder. The folder may hold nothing but a tokenizer.
#pragma once

#include "runtime/text/TextAssets.h"

#include <string>

namespace fusebox {

/// tokenizer.json, else tokenizer.model; chat_template.jinja, else tokenizer_config.json's `chat_template` (a
/// string, or a list of named ones: "default", else the first); generation_config.json, else config.json's
/// token ids. A folder without any of these gives empty assets. Fails with ErrorKind::Model on files that
/// can't be read or aren't JSON where they should be; whether the tokenizer itself is sound shows when it is
/// opened.
Result<TextAssets> loadTextAssets(const std::string &folder);

} // namespace fusebox
