// Results of checks, kept by what they were made from: the weights' content hash where it is known, and the
// identity of the files (device, inode, size, mtime and ctime in ns), which vouches for their content as it
// does for remembered hashes (support/ContentHash.h). So a first check needs no hash, which would cost as
// much as the check itself.
#pragma once

#include "check/CheckReport.h"
#include "support/MappedFile.h"

#include <optional>
#include <string>
#include <vector>

namespace fusebox {

/// The files a check depends on: weights and the description beside them.
struct ModelFiles {
  std::vector<MappedFile> weights;
  std::string configuration; ///< text of config.json; empty for a GGUF, which holds its own
};
/// Finds and maps them; `path` as resolveModel returns it. Fails with ErrorKind::Model.
Result<ModelFiles> mapModelFiles(const std::string &path);

/// One hash of all files' names and contents: from remembered hashes alone if `read` is false (nothing if one
/// is missing), else files are read where it must be.
Result<std::optional<std::string>> hashModel(const ModelFiles &files, bool read, bool verify);

/// What a cached result holds beside the analysis.
struct CachedCheck {
  std::string architecture, activations, weightHash; ///< the hash may be empty
  double klBudget = 0;
  Analysis analysis;
};

/// A hash of the files' identities; nothing while one of them is younger than 2 s and could change unnoticed.
std::optional<std::string> identityOf(const ModelFiles &files);
/// Fails with ErrorKind::Model if a file is no longer the one that was mapped.
Result<void> checkUnchanged(const ModelFiles &files);

/// The key of a result: content hash or identity of the files, and settings that change what is computed from
/// them.
std::string cacheKey(const std::string &files, std::string_view rounding, std::string_view activations);
/// Nothing if there is no entry, or it is damaged.
std::optional<CachedCheck> readCache(const std::string &key);
/// A cache that can't be written costs time, nothing else.
void writeCache(const std::string &key, const CheckReport &report);

} // namespace fusebox
