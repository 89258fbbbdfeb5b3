// Results of checks, kept by the hash of what they were made from (support/ContentHash.h states the rule).
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
  std::string architecture, activations;
  double klBudget = 0;
  Analysis analysis;
};

/// The key of a result: the weights, and settings that change what is computed from them.
std::string cacheKey(const std::string &weightHash, std::string_view rounding, std::string_view activations);
/// Nothing if there is no entry, or it is damaged.
std::optional<CachedCheck> readCache(const std::string &key);
/// A cache that can't be written costs time, nothing else.
void writeCache(const std::string &key, const CheckReport &report);

} // namespace fusebox
