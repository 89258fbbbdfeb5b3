// Writing a file so that a full disk, a crash or Ctrl-C never leaves a half-written one: beside it, then
// renamed.
#pragma once

#include "support/Result.h"

#include <cstddef>
#include <span>
#include <string>

namespace fusebox {

/// A temporary file beside its target. commit() flushes and renames it; without commit() it is removed.
class AtomicFile {
public:
  /// Fails with ErrorKind::Resource when the folder can't be written.
  static Result<AtomicFile> create(const std::string &path);
  AtomicFile(AtomicFile &&other) noexcept;
  AtomicFile &operator=(AtomicFile &&) = delete;
  ~AtomicFile();

  /// Appends; fails with ErrorKind::Resource when the disk is full.
  Result<void> write(std::span<const std::byte> bytes);
  Result<void> commit();

private:
  AtomicFile(std::string target, std::string temporary, int fd)
      : target(std::move(target)), temporary(std::move(temporary)), fd(fd) {}
  std::string target, temporary;
  int fd;
};

/// Writes `bytes` to `path` atomically.
Result<void> writeFileAtomically(const std::string &path, std::span<const std::byte> bytes);

} // namespace fusebox
