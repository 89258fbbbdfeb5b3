// A family: how one architecture's own description (config keys, GGUF metadata, tensor names) maps onto the
// facts of a ModelSpec. Read from frontends/families/<name>.yaml on top of common.yaml; docs/add-a-family.md
// explains the format.
#pragma once

#include "support/Result.h"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace fusebox {

/// What to do with one key of a description. Exactly one of the alternatives is used.
struct KeyRule {
  std::vector<std::string> facts;            ///< the facts that take the key's value
  std::map<std::string, std::string> values; ///< if not empty: the values accepted, and what each means
  std::vector<std::string> only;             ///< the key sets no fact, but no other value can be honoured
  std::map<std::string, KeyRule> keys;       ///< the key is an object, whose keys have rules of their own
};
using KeyRules = std::map<std::string, KeyRule>;

/// A parameter: present where all conditions hold.
struct TensorRule {
  std::string role, hfName, ggufName;            ///< "{}" in a name: one a layer
  std::vector<std::string> shape;                ///< names of extents, outermost first
  std::map<std::string, std::string> conditions; ///< fact → value
};

/// Facts that a GGUF tells by its tensors.
struct GgufTensorFacts {
  std::map<std::string, std::string> present; ///< fact → tensor: true if it is there
  std::map<std::string, std::string> absent;  ///< fact → tensor: true if it is not
  std::map<std::string, std::string> rows;    ///< fact → tensor: its outermost extent
};

struct Family {
  std::string name;                       ///< the file's name without .yaml
  std::vector<std::string> modelTypes;    ///< config.json's model_type
  std::vector<std::string> architectures; ///< config.json's architectures, if it has any
  std::vector<std::string> ggufArchitectures;
  std::map<std::string, std::string> facts; ///< values where the description says nothing
  KeyRules configKeys, ggufKeys;
  std::vector<std::string> configHarmless,
      ggufHarmless; ///< keys that may have any value; a trailing * is a prefix
  GgufTensorFacts ggufTensorFacts;
  std::string ggufFrequencyFactors;               ///< the tensor of RoPE's frequency factors, may be absent
  std::map<std::string, std::string> ggufRecipes; ///< role → recipe, where it is not "identity"
  std::vector<TensorRule> tensors;
  std::vector<std::string> ignoredTensors; ///< may be there unused; "{}" for a layer
};

/// Parses a family's YAML on top of common.yaml's text; `name` is for messages and becomes Family::name.
/// Fails with ErrorKind::Model on anything that the format does not have, naming the line.
Result<Family> parseFamily(const std::string &name, const std::string &commonText, const std::string &text);

/// All families: the built-in ones, and those of `folder`, which replace built-in ones of the same name
/// (common.yaml too). `folder` may be empty.
class FamilyTable {
public:
  static Result<FamilyTable> load(const std::string &folder);

  /// The family of a config.json's model_type, or null.
  const Family *findByModelType(std::string_view modelType) const;
  /// The family of a GGUF's general.architecture, or null.
  const Family *findByGgufArchitecture(std::string_view architecture) const;
  const std::vector<Family> &all() const { return families; }
  /// Names, for messages: "ernie4_5, llama, qwen3".
  std::string modelTypeList() const;
  std::string ggufArchitectureList() const;

private:
  std::vector<Family> families;
};

/// The files built into the program: name without .yaml → text.
const std::map<std::string, std::string> &builtinFamilyTexts();

} // namespace fusebox
