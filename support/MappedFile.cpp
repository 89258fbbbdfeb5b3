#include "support/MappedFile.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace fusebox;

Result<MappedFile> MappedFile::open(const std::string &path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return modelError(path + ": cannot open: " + std::strerror(errno));
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(fd);
    return modelError(path + ": not a regular file");
  }
  MappedFile file;
  file.filePath = path;
  file.size = size_t(info.st_size);
  file.fileIdentity = {uint64_t(info.st_dev), uint64_t(info.st_ino), uint64_t(info.st_size),
                       info.st_mtim.tv_sec * 1000000000ll + info.st_mtim.tv_nsec,
                       info.st_ctim.tv_sec * 1000000000ll + info.st_ctim.tv_nsec};
  if (file.size != 0) {
    void *memory = mmap(nullptr, file.size, PROT_READ, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
      int reason = errno;
      close(fd);
      return resourceError(path + ": cannot map: " + std::strerror(reason));
    }
    file.descriptor = fd;
    file.mapping = {static_cast<const std::byte *>(memory), [size = file.size, fd](const std::byte *data) {
                      munmap(const_cast<std::byte *>(data), size);
                      close(fd);
                    }};
  } else {
    close(fd);
  }
  return file;
}

bool MappedFile::read(uint64_t offset, std::span<std::byte> into) const {
  while (!into.empty()) {
    ssize_t count = pread(descriptor, into.data(), into.size(), off_t(offset));
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0)
      return false;
    offset += uint64_t(count);
    into = into.subspan(size_t(count));
  }
  return true;
}

void MappedFile::expectWholeRead() const {
  // Advice only: a system without large pages for files refuses it, and nothing is lost.
  if (size != 0)
    (void)madvise(const_cast<std::byte *>(mapping.get()), size, MADV_HUGEPAGE);
}
