#include "runtime/cpu/HostMemory.h"

#include "runtime/cpu/ControlGroup.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

using namespace fusebox;
using namespace fusebox::cpu;

/// What is left under the limits of one control-group folder; cache that can be dropped counts as free.
static uint64_t groupLeft(const std::string &folder, const char *limitFile, const char *usageFile) {
  auto limit = readNumber(folder + "/" + limitFile);
  auto usage = readNumber(folder + "/" + usageFile);
  if (!limit || !usage)
    return UINT64_MAX;
  uint64_t cache = readNumber(folder + "/memory.stat", "inactive_file").value_or(0) +
                   readNumber(folder + "/memory.stat", "active_file").value_or(0);
  uint64_t used = *usage - std::min(*usage, cache);
  return *limit - std::min(*limit, used);
}

/// The least that any control group above this process leaves.
static uint64_t groupsLeft() {
  uint64_t least = groupLeft("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes");
  forEachControlGroup([&](const std::string &folder) {
    least = std::min(least, groupLeft(folder, "memory.max", "memory.current"));
  });
  return least;
}

static uint64_t addressSpaceLeft() {
  rlimit limit;
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
    return UINT64_MAX;
  uint64_t used = readNumber("/proc/self/statm").value_or(0) * uint64_t(sysconf(_SC_PAGESIZE));
  return limit.rlim_cur - std::min<uint64_t>(limit.rlim_cur, used);
}

uint64_t cpu::availableHostMemory() {
  uint64_t system = readNumber("/proc/meminfo", "MemAvailable:").value_or(UINT64_MAX >> 10) * 1024;
  return std::min({system, groupsLeft(), addressSpaceLeft()});
}

Result<std::shared_ptr<std::byte>> cpu::allocatePages(uint64_t bytes, const std::string &what) {
  constexpr uint64_t huge = uint64_t(2) << 20;
  if (bytes == 0)
    return std::shared_ptr<std::byte>();
  uint64_t reserve = bytes >= huge ? bytes + huge : bytes;
  void *address = reserve < bytes ? MAP_FAILED
                                  : mmap(nullptr, reserve, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED)
    return resourceError("cannot get " + std::to_string(bytes) + " bytes of memory for " + what + ": " +
                         std::strerror(errno));
  auto *start = static_cast<std::byte *>(address);
  std::shared_ptr<std::byte> whole(start, [reserve](std::byte *memory) { munmap(memory, reserve); });
  if (bytes < huge)
    return whole;
  auto *aligned =
      reinterpret_cast<std::byte *>((reinterpret_cast<uintptr_t>(start) + huge - 1) & ~(huge - 1));
  madvise(aligned, bytes, MADV_HUGEPAGE);
  return std::shared_ptr<std::byte>(whole, aligned);
}
