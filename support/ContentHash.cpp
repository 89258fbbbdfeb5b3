#include "support/ContentHash.h"

#include "support/AtomicFile.h"
#include "support/Hash.h"

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

using namespace fusebox;

static constexpr int64_t settledNs = 2'000'000'000;

std::string fusebox::cacheFolder() {
  if (const char *folder = std::getenv("XDG_CACHE_HOME"); folder && *folder == '/')
    return std::string(folder) + "/fusebox";
  if (const char *home = std::getenv("HOME"); home && *home == '/')
    return std::string(home) + "/.cache/fusebox";
  return {};
}

bool fusebox::makeFolders(const std::string &path) {
  std::error_code failure;
  std::filesystem::create_directories(path, failure);
  return std::filesystem::is_directory(path, failure);
}

/// The identity as text: an entry repeats it, so that a collision of entry names does no harm.
static std::string identityText(const FileIdentity &id) {
  return std::to_string(id.device) + ' ' + std::to_string(id.inode) + ' ' + std::to_string(id.size) + ' ' +
         std::to_string(id.mtimeNs) + ' ' + std::to_string(id.ctimeNs);
}

static std::string entryPath(const std::string &folder, const std::string &identity) {
  return folder + "/hashes/" + hash128(std::as_bytes(std::span(identity)));
}

static std::optional<std::string> recall(const std::string &entry, const std::string &identity) {
  std::ifstream file(entry);
  std::string storedIdentity, hash;
  if (!std::getline(file, storedIdentity) || !std::getline(file, hash))
    return std::nullopt;
  if (storedIdentity != identity || hash.size() != 32 ||
      hash.find_first_not_of("0123456789abcdef") != std::string::npos)
    return std::nullopt;
  return hash;
}

static int64_t nowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::optional<std::string> fusebox::rememberedHash(const MappedFile &file) {
  std::string folder = cacheFolder();
  if (folder.empty())
    return std::nullopt;
  std::string identity = identityText(file.identity());
  return recall(entryPath(folder, identity), identity);
}

Result<std::string> fusebox::contentHash(const MappedFile &file, HashMemo memo) {
  std::string folder = cacheFolder();
  std::string identity = identityText(file.identity());
  std::string entry = folder.empty() ? std::string() : entryPath(folder, identity);
  if (memo == HashMemo::Use && !entry.empty())
    if (auto known = recall(entry, identity))
      return *known;

  int64_t started = nowNs();
  file.expectWholeRead();
  std::string hash = hash128(file.bytes());
  FUSEBOX_ASSIGN(MappedFile now, MappedFile::open(file.path()));
  if (!(now.identity() == file.identity()))
    return modelError(file.path() + ": the file changed while it was read; run again when it is complete");

  bool settled = started - std::max(file.identity().mtimeNs, file.identity().ctimeNs) >= settledNs;
  if (settled && !entry.empty() && makeFolders(folder + "/hashes")) {
    std::string text = identity + '\n' + hash + '\n';
    // A cache that can't be written costs time, nothing else.
    (void)writeFileAtomically(entry, std::as_bytes(std::span(text)));
  }
  return hash;
}
