// Plans of models that were run by name: compiled once for each content, options and compiler.
#include "compiler/Compile.h"

#include "frontends/Resolve.h"
#include "support/ContentHash.h"
#include "support/Hash.h"
#include "support/MappedFile.h"

#include <algorithm>
#include <filesystem>

using namespace fusebox;
namespace fs = std::filesystem;

/// Files that a model is read from: the file itself, or what a snapshot folder holds of weights and
/// descriptions.
static std::vector<std::string> modelFiles(const std::string &path) {
  if (!fs::is_directory(path) && fs::path(path).extension() == ".gguf")
    return {path};
  fs::path folder = fs::is_directory(path) ? fs::path(path) : fs::path(path).parent_path();
  std::vector<std::string> files;
  std::error_code failed;
  for (const fs::directory_entry &entry : fs::directory_iterator(folder, failed)) {
    std::string kind = entry.path().extension();
    bool ofModel = kind == ".json" || kind == ".jinja" || kind == ".model" || kind == ".safetensors";
    if (ofModel && entry.is_regular_file(failed))
      files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// Everything that a plan depends on, as one hash.
static Result<std::string> planKey(const std::string &path, const CompileOptions &options) {
  Hasher hasher;
  auto add = [&](std::string_view text) {
    hasher.add(text);
    hasher.add(std::string_view("\0", 1));
  };
  FUSEBOX_ASSIGN(MappedFile compiler, MappedFile::open("/proc/self/exe"));
  FUSEBOX_ASSIGN(std::string compilerHash, contentHash(compiler));
  add(compilerHash);
  std::vector<std::string> files = modelFiles(path);
  if (!options.startFrom.empty())
    files.push_back(options.startFrom);
  for (const std::string &name : files) {
    FUSEBOX_ASSIGN(MappedFile file, MappedFile::open(name));
    FUSEBOX_ASSIGN(std::string hash,
                   contentHash(file, options.verifyWeights ? HashMemo::Rehash : HashMemo::Use));
    add(fs::absolute(name).string());
    add(hash);
  }
  for (const std::string &target : options.targets)
    add(target);
  add(options.dtype ? dtypeName(*options.dtype) : "");
  add(options.weights);
  add(options.rounding);
  add(options.fusion);
  add(options.activationsInt8 ? "int8" : "");
  add(options.embedWeights ? "embedded" : "");
  return hasher.digest128();
}

Result<std::string> fusebox::cachedPlan(const std::string &model, const CompileOptions &options) {
  FUSEBOX_ASSIGN(std::string path, resolveModel(model));
  FUSEBOX_ASSIGN(std::string key, planKey(path, options));
  std::string folder = cacheFolder();
  if (folder.empty() || !makeFolders(folder + "/plans"))
    return resourceError(
        "no cache folder for the compiled plan: set XDG_CACHE_HOME or HOME, or compile to a file "
        "with -o");
  std::string plan = folder + "/plans/" + key + ".plan";
  if (fs::exists(plan))
    return plan;
  FUSEBOX_ASSIGN(CompiledPlan compiled, compileModel(model, options));
  FUSEBOX_TRY(compiled.writer.write(plan));
  return plan;
}
