#include "support/AtomicFile.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

using namespace fusebox;

Result<AtomicFile> AtomicFile::create(const std::string &path) {
  std::string temporary = path + ".XXXXXX";
  int fd = mkostemp(temporary.data(), 0);
  if (fd < 0)
    return resourceError(path + ": cannot create: " + std::strerror(errno) + "; choose a writable folder");
  // mkostemp makes the file private; give it the mode an ordinary new file would have.
  mode_t mask = umask(0);
  umask(mask);
  fchmod(fd, 0666 & ~mask);
  return AtomicFile(path, std::move(temporary), fd);
}

AtomicFile::AtomicFile(AtomicFile &&other) noexcept
    : target(std::move(other.target)), temporary(std::exchange(other.temporary, {})),
      fd(std::exchange(other.fd, -1)) {}

AtomicFile::~AtomicFile() {
  if (fd >= 0)
    close(fd);
  if (!temporary.empty())
    unlink(temporary.c_str());
}

Result<void> AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      return resourceError(target + ": cannot write: " + std::strerror(errno) + "; nothing was left behind");
    bytes = bytes.subspan(size_t(written));
  }
  return {};
}

Result<void> AtomicFile::commit() {
  bool closed = close(std::exchange(fd, -1)) == 0;
  if (!closed || rename(temporary.c_str(), target.c_str()) != 0)
    return resourceError(target + ": cannot write: " + std::strerror(errno) + "; nothing was left behind");
  temporary.clear();
  return {};
}

Result<void> fusebox::writeFileAtomically(const std::string &path, std::span<const std::byte> bytes) {
  FUSEBOX_ASSIGN(AtomicFile file, AtomicFile::create(path));
  FUSEBOX_TRY(file.write(bytes));
  return file.commit();
}
