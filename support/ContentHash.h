// The one caching rule of Fusebox: things made from a file are keyed by the hash of its content, and that
// hash is remembered under the file's identity (device, inode, size, mtime and ctime in ns). Used for
// weights, plans and check results. Safe with concurrent runs: entries are written beside and renamed.
#pragma once

#include "support/MappedFile.h"
#include "support/Result.h"

#include <optional>
#include <string>

namespace fusebox {

/// Folder of everything Fusebox caches: $XDG_CACHE_HOME/fusebox, else $HOME/.cache/fusebox; empty if neither
/// is set.
std::string cacheFolder();

/// Makes a folder and its parents; false if that can't be done.
bool makeFolders(const std::string &path);

enum class HashMemo {
  Use,    ///< take a remembered hash, remember a new one
  Rehash, ///< always read the file (--verify-weights), remember the hash
};

/// XXH3-128 of a whole file, 32 hex digits. A hash is remembered only if the file had been unchanged for 2 s
/// when it was read: a younger one could change again within its timestamp's grain. No cache folder, no memo:
/// not an error. Fails with ErrorKind::Model if the file changed while it was read.
Result<std::string> contentHash(const MappedFile &file, HashMemo memo = HashMemo::Use);

/// The hash that contentHash would return without reading the file, if one is remembered.
std::optional<std::string> rememberedHash(const MappedFile &file);

} // namespace fusebox
