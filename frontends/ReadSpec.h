// From a parsed description, config.json or GGUF metadata, to a ModelSpec. Used by loadModel and by its
// tests.
#pragma once

#include "frontends/Checkpoint.h"
#include "frontends/ModelSpec.h"
#include "frontends/families/Family.h"
#include "support/Result.h"

#include <nlohmann/json.hpp>

#include <string>

namespace fusebox {

/// A description and the family (in the table it was read with) that it is of.
struct SpecWithFamily {
  ModelSpec spec;
  const Family *family = nullptr;
};

/// Reads a config.json. `file` is for messages. Fails with ErrorKind::Model, naming file, key and remedy.
Result<SpecWithFamily> specFromConfig(const nlohmann::json &config, const FamilyTable &families,
                                      const std::string &file);

/// Takes the ids that end a text from a generation_config.json, which decides over config.json's.
Result<void> addGenerationConfig(ModelSpec &spec, const nlohmann::json &generation, const std::string &file);

/// Reads a GGUF's metadata and what its tensors tell.
Result<SpecWithFamily> specFromGguf(const Checkpoint &checkpoint, const FamilyTable &families,
                                    const std::string &file);

} // namespace fusebox
