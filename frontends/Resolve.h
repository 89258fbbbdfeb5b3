// What a user means by MODEL: a path, or a name in the local Hugging Face cache.
#pragma once

#include "support/Result.h"

#include <string>

namespace fusebox {

/// Turns `model` into a path that exists: a snapshot folder, a .gguf, a .safetensors file, or, for org/name,
/// the snapshot that refs/main (or refs/<revision> after `@`) names in the first of $HF_HUB_CACHE,
/// $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub. A path that exists wins over a
/// name. Nothing is downloaded: fails with ErrorKind::Model and says where it looked.
Result<std::string> resolveModel(const std::string &model);

} // namespace fusebox
