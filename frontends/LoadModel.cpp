#include "frontends/LoadModel.h"

#include "frontends/CheckParameters.h"
#include "frontends/ReadSpec.h"
#include "frontends/Resolve.h"
#include "frontends/families/Family.h"
#include "frontends/gguf/GgufFile.h"
#include "frontends/json/ReadJson.h"

#include <filesystem>

using namespace fusebox;
namespace fs = std::filesystem;

namespace {

/// The folder whose config.json describes `path`: itself, or a .safetensors file's own.
fs::path descriptionFolder(const std::string &path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored))
    return path;
  fs::path folder = fs::path(path).parent_path();
  return folder.empty() ? fs::path(".") : folder;
}

Result<SpecWithFamily> readFolderSpec(const fs::path &folder, const FamilyTable &families) {
  std::string configPath = (folder / "config.json").string();
  FUSEBOX_ASSIGN(nlohmann::json config, readJsonFile(configPath));
  FUSEBOX_ASSIGN(SpecWithFamily result, specFromConfig(config, families, configPath));
  fs::path generationPath = folder / "generation_config.json";
  std::error_code ignored;
  if (fs::exists(generationPath, ignored)) {
    FUSEBOX_ASSIGN(nlohmann::json generation, readJsonFile(generationPath.string()));
    FUSEBOX_TRY(addGenerationConfig(result.spec, generation, generationPath.string()));
  }
  return result;
}

} // namespace

const StoredTensor *LoadedModel::find(std::string_view role, int64_t layer) const {
  for (const BoundParameter &bound : parameters) {
    if (spec.parameters[bound.parameter].role == role)
      return layer >= 0 && size_t(layer) < bound.tensors.size()
                 ? &checkpoint.tensors()[bound.tensors[size_t(layer)]]
                 : nullptr;
  }
  return nullptr;
}

Result<LoadedModel> fusebox::loadModel(const std::string &model, const LoadOptions &options) {
  FUSEBOX_ASSIGN(std::string path, resolveModel(model));
  FUSEBOX_ASSIGN(FamilyTable families, FamilyTable::load(options.familyFolder));
  LoadedModel loaded;
  SpecWithFamily described;
  if (path.ends_with(".gguf")) {
    FUSEBOX_ASSIGN(loaded.checkpoint, Checkpoint::open(path));
    FUSEBOX_ASSIGN(described, specFromGguf(loaded.checkpoint, families, path));
  } else {
    // The description first: that a family is unknown is said even if weights are missing too.
    FUSEBOX_ASSIGN(described, readFolderSpec(descriptionFolder(path), families));
    FUSEBOX_ASSIGN(loaded.checkpoint, Checkpoint::open(path));
  }
  loaded.spec = std::move(described.spec);
  FUSEBOX_ASSIGN(loaded.parameters,
                 checkParameters(loaded.spec, loaded.checkpoint, described.family->ignoredTensors));
  return loaded;
}

Result<ModelSpec> fusebox::readModelSpec(const std::string &folder, const LoadOptions &options) {
  FUSEBOX_ASSIGN(FamilyTable families, FamilyTable::load(options.familyFolder));
  FUSEBOX_ASSIGN(SpecWithFamily described, readFolderSpec(folder, families));
  return std::move(described.spec);
}
