// The tokenizer's part of a GGUF's metadata. runtime/text makes a tokenizer of it.
#pragma once

#include "frontends/gguf/GgufFile.h"
#include "runtime/text/GgufTokenizer.h"
#include "support/Result.h"

namespace fusebox {

/// Copies the tokenizer.* keys out of `metadata`; `model` stays empty if the file has no tokenizer.
/// Fails with ErrorKind::Model if a key has a value of the wrong type.
Result<GgufTokenizerData> readGgufTokenizer(const GgufMetadata &metadata);

} // namespace fusebox
