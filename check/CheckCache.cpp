#include "check/CheckCache.h"

#include "support/AtomicFile.h"
#include "support/ContentHash.h"
#include "support/Hash.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

using namespace fusebox;
namespace fs = std::filesystem;

/// Raised whenever the same weights would give another analysis.
static constexpr int analysisVersion = 3;

static std::string_view textOf(const MappedFile &file) {
  return {reinterpret_cast<const char *>(file.bytes().data()), file.bytes().size()};
}

Result<ModelFiles> fusebox::mapModelFiles(const std::string &path) {
  ModelFiles files;
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) {
    FUSEBOX_ASSIGN(MappedFile file, MappedFile::open(path));
    files.weights.push_back(std::move(file));
    // A lone .safetensors file is described by the config.json beside it.
    fs::path config = fs::path(path).parent_path() / "config.json";
    if (fs::path(path).extension() == ".safetensors" && fs::exists(config, ignored)) {
      FUSEBOX_ASSIGN(MappedFile text, MappedFile::open(config.string()));
      files.configuration = textOf(text);
    }
    return files;
  }
  std::vector<std::string> paths;
  for (fs::directory_iterator entry(path, ignored), end; !ignored && entry != end; entry.increment(ignored))
    if (entry->path().extension() == ".safetensors")
      paths.push_back(entry->path().string());
  std::sort(paths.begin(), paths.end());
  for (const std::string &name : paths) {
    FUSEBOX_ASSIGN(MappedFile file, MappedFile::open(name));
    files.weights.push_back(std::move(file));
  }
  for (const char *name : {"config.json", "model.safetensors.index.json"}) {
    fs::path file = fs::path(path) / name;
    if (!fs::exists(file, ignored))
      continue;
    FUSEBOX_ASSIGN(MappedFile text, MappedFile::open(file.string()));
    files.configuration += textOf(text);
  }
  return files;
}

Result<std::optional<std::string>> fusebox::hashModel(const ModelFiles &files, bool read, bool verify) {
  std::string all = hash128(std::as_bytes(std::span(files.configuration)));
  for (const MappedFile &file : files.weights) {
    std::optional<std::string> hash;
    if (!verify)
      hash = rememberedHash(file);
    if (!hash) {
      if (!read)
        return std::optional<std::string>();
      FUSEBOX_ASSIGN(hash, contentHash(file, verify ? HashMemo::Rehash : HashMemo::Use));
    }
    all += "\n" + *hash;
  }
  return std::optional(hash128(std::as_bytes(std::span(all))));
}

std::optional<std::string> fusebox::identityOf(const ModelFiles &files) {
  constexpr int64_t settledNs = 2'000'000'000;
  int64_t now = std::chrono::duration_cast<std::chrono::nanoseconds>(
                    std::chrono::system_clock::now().time_since_epoch())
                    .count();
  std::string text = "identity\n" + hash128(std::as_bytes(std::span(files.configuration)));
  for (const MappedFile &file : files.weights) {
    const FileIdentity &id = file.identity();
    if (now - std::max(id.mtimeNs, id.ctimeNs) < settledNs)
      return std::nullopt;
    text += fmt::format("\n{} {} {} {} {}", id.device, id.inode, id.size, id.mtimeNs, id.ctimeNs);
  }
  return hash128(std::as_bytes(std::span(text)));
}

Result<void> fusebox::checkUnchanged(const ModelFiles &files) {
  for (const MappedFile &file : files.weights) {
    FUSEBOX_ASSIGN(MappedFile now, MappedFile::open(file.path()));
    if (!(now.identity() == file.identity()))
      return modelError(file.path() + ": the file changed while it was read; run again when it is complete");
  }
  return {};
}

std::string fusebox::cacheKey(const std::string &files, std::string_view rounding,
                              std::string_view activations) {
  std::string text = fmt::format("{}\n{}\n{}\n{}", analysisVersion, files, rounding, activations);
  return hash128(std::as_bytes(std::span(text)));
}

static std::string entryPath(const std::string &key) {
  std::string folder = cacheFolder();
  return folder.empty() ? std::string() : folder + "/check/" + key;
}

/// An entry is the checksum of the rest, a line break, and JSON.
std::optional<CachedCheck> fusebox::readCache(const std::string &key) {
  std::string path = entryPath(key);
  if (path.empty())
    return std::nullopt;
  auto file = MappedFile::open(path);
  if (!file)
    return std::nullopt;
  std::string_view text = textOf(*file);
  constexpr size_t checksumDigits = 32;
  if (text.size() <= checksumDigits + 1)
    return std::nullopt;
  std::string_view body = text.substr(checksumDigits + 1);
  if (text.substr(0, checksumDigits) != hash128(std::as_bytes(std::span(body))))
    return std::nullopt;
  auto json = nlohmann::ordered_json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded())
    return std::nullopt;
  auto analysis = analysisFromJson(json, path);
  if (!analysis)
    return std::nullopt;
  const auto &hash = json.at("weight_hash");
  return CachedCheck{json.at("architecture"), json.at("activations"),
                     hash.is_null() ? std::string() : hash.get<std::string>(),
                     json.at("thresholds").at("kl_budget"), std::move(*analysis)};
}

void fusebox::writeCache(const std::string &key, const CheckReport &report) {
  std::string path = entryPath(key);
  if (path.empty() || !makeFolders(fs::path(path).parent_path().string()))
    return;
  std::string body = reportJson(report).dump();
  std::string text = hash128(std::as_bytes(std::span(body))) + "\n" + body;
  (void)writeFileAtomically(path, std::as_bytes(std::span(text)));
}
