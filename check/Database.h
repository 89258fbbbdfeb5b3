// A database of check results, keyed by model and weight hash: shipped entries, and others' files merged on
// request.
//
// A file holds one JSON array of entries: {model, architecture, weight_hash, status, score, ratio,
// amplification, extreme_layers, layers, certified_status, certified_regions, tool}.
#pragma once

#include "check/CheckReport.h"
#include "support/Result.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace fusebox {

struct DatabaseEntry {
  std::string model, architecture, weightHash;
  std::string status; ///< of the heuristic: NOT_APPLICABLE without q and k norms
  std::optional<double> score, ratio, amplification;
  int64_t extremeLayers = 0, layers = 0;
  std::string certifiedStatus, certifiedRegions;
  std::string tool;   ///< the version that made it
  std::string source; ///< file it came from; not stored
};

DatabaseEntry entryOf(const CheckReport &report);

/// Two entries with one key that say different things.
struct DatabaseConflict {
  DatabaseEntry first, second;
  std::string text() const;
};

class Database {
public:
  /// The shipped entries.
  static Result<Database> shipped();
  /// Adds the entries of a file, or of all .json files of a folder. Fails with ErrorKind::Model; names file
  /// and entry.
  Result<void> merge(const std::string &fileOrFolder);
  /// Adds one; an entry with the same key that says something else becomes a conflict, and the first one
  /// stays.
  void add(DatabaseEntry entry);

  const DatabaseEntry *find(const std::string &model, const std::string &weightHash) const;
  /// Whether some entry is about a model of that name (case is ignored).
  bool knows(const std::string &model) const;
  const std::vector<DatabaseEntry> &entries() const { return all; }
  const std::vector<DatabaseConflict> &conflicts() const { return found; }

private:
  Result<void> mergeText(const std::string &text, const std::string &source);
  std::vector<DatabaseEntry> all;
  std::vector<DatabaseConflict> found;
};

/// Writes the report's entry to `file`, beside those that are there; one with the same key is replaced.
Result<void> contribute(const CheckReport &report, const std::string &file);

/// What the database says about a report: agreement, disagreement, or nothing (empty).
std::string compareWithDatabase(const Database &database, const CheckReport &report);

/// Texts of the shipped files, by name.
const std::map<std::string, std::string> &builtinDatabaseTexts();

} // namespace fusebox
