// A file mapped read-only into memory: weights, plans, tokenizers.
#pragma once

#include "support/Result.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace fusebox {

/// Identity of a file's content as the file system sees it; the memo key of the caching rule
/// (docs/architecture.md).
struct FileIdentity {
  uint64_t device = 0, inode = 0, size = 0;
  int64_t mtimeNs = 0, ctimeNs = 0;
  bool operator==(const FileIdentity &) const = default;
};

/// Read-only mapping of a whole file. Copies share the mapping, which lives until the last copy goes.
class MappedFile {
public:
  /// Fails with ErrorKind::Model when the file is missing, unreadable or not a regular file.
  static Result<MappedFile> open(const std::string &path);

  std::span<const std::byte> bytes() const { return {mapping.get(), size}; }
  const std::string &path() const { return filePath; }
  const FileIdentity &identity() const { return fileIdentity; }

  /// Copies bytes from `offset` on into memory, past the mapping. What is read once comes cheaper that way:
  /// no page is mapped for it, and none unmapped. False if the file can't give them (it was truncated, or the
  /// disk fails).
  bool read(uint64_t offset, std::span<std::byte> into) const;

  /// Says that all of the file will be read: what is not in the page cache yet comes in large pages where the
  /// file system has them, which makes reading from memory up to 5 % faster.
  void expectWholeRead() const;

private:
  std::shared_ptr<const std::byte> mapping; ///< with the open file
  int descriptor = -1;
  size_t size = 0;
  std::string filePath;
  FileIdentity fileIdentity;
};

} // namespace fusebox
