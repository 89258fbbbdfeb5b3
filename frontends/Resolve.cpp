#include "frontends/Resolve.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <vector>

using namespace fusebox;
namespace fs = std::filesystem;

namespace {

/// An environment variable, or null if unset or empty.
const char *variable(const char *name) {
  const char *value = std::getenv(name);
  return value && *value ? value : nullptr;
}

/// The cache folder, by the rules of huggingface_hub's constants.
fs::path cacheFolder() {
  if (const char *cache = variable("HF_HUB_CACHE"))
    return cache;
  if (const char *home = variable("HF_HOME"))
    return fs::path(home) / "hub";
  if (const char *cache = variable("XDG_CACHE_HOME"))
    return fs::path(cache) / "huggingface" / "hub";
  const char *home = variable("HOME");
  return fs::path(home ? home : ".") / ".cache" / "huggingface" / "hub";
}

/// A name's part: what the Hub allows, so that it can't climb out of the cache.
bool isPlainName(std::string_view name) {
  if (name.empty() || name == "." || name == "..")
    return false;
  for (char c : name) {
    bool allowed = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                   c == '_' || c == '.';
    if (!allowed)
      return false;
  }
  return true;
}

std::string firstLine(const fs::path &path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  while (!line.empty() && (line.back() == '\r' || line.back() == ' '))
    line.pop_back();
  return line;
}

bool isDirectory(const fs::path &path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

bool isWeightFile(const std::string &path) {
  return path.ends_with(".gguf") || path.ends_with(".safetensors");
}

} // namespace

Result<std::string> fusebox::resolveModel(const std::string &model) {
  std::error_code ignored;
  if (isDirectory(model) || (fs::exists(model, ignored) && isWeightFile(model)))
    return model;
  if (fs::exists(model, ignored))
    return modelError(model + ": is neither a snapshot folder nor a .gguf or .safetensors file, nor (for "
                              "commands that take one) a plan");

  std::string name = model, revision = "main";
  if (size_t at = model.find('@'); at != std::string::npos)
    name = model.substr(0, at), revision = model.substr(at + 1);
  size_t slash = name.find('/');
  if (slash == std::string::npos || !isPlainName(name.substr(0, slash)) ||
      !isPlainName(name.substr(slash + 1)) || !isPlainName(revision))
    return modelError(model +
                      ": no such folder or file; MODEL is a plan, a snapshot folder, a .gguf or .safetensors "
                      "file, or org/name in the Hugging Face cache");

  fs::path repository = cacheFolder() / ("models--" + name.substr(0, slash) + "--" + name.substr(slash + 1));
  if (!isDirectory(repository))
    return modelError(model + ": no such folder, and not in the Hugging Face cache (" + repository.string() +
                      "); fetch it with `huggingface-cli download " + name + "`, or set HF_HOME");
  // A revision is a branch, whose file under refs holds the commit, or the commit itself.
  std::string commit = firstLine(repository / "refs" / revision);
  if (commit.empty())
    commit = revision;
  fs::path snapshot = repository / "snapshots" / commit;
  if (!isPlainName(commit) || !isDirectory(snapshot))
    return modelError(repository.string() + ": has no snapshot of revision '" + revision +
                      "'; fetch it with `huggingface-cli download " + name + " --revision " + revision + "`");
  return snapshot.string();
}
