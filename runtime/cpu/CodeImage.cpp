#include "runtime/cpu/CodeImage.h"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

using namespace fusebox;
using namespace fusebox::cpu;

Result<CodeImage> CodeImage::map(const plan::Image &image) {
  uint64_t page = uint64_t(sysconf(_SC_PAGESIZE));
  uint64_t size = (image.bytes.size() + page - 1) / page * page;
  void *address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED)
    return resourceError("cannot get " + std::to_string(size) +
                         " bytes for the plan's code: " + std::strerror(errno));
  CodeImage mapped;
  mapped.size = size;
  mapped.memory = {static_cast<std::byte *>(address), [size](std::byte *memory) { munmap(memory, size); }};
  std::memcpy(address, image.bytes.data(), image.bytes.size());
  // Data that shares the last page of the code becomes executable with it; it stays read-only.
  uint64_t code = (image.codeBytes + page - 1) / page * page;
  if (mprotect(address, size, PROT_READ) != 0 || mprotect(address, code, PROT_READ | PROT_EXEC) != 0)
    return resourceError(std::string("this system does not let the plan's code run: mprotect: ") +
                         std::strerror(errno));
  return mapped;
}
