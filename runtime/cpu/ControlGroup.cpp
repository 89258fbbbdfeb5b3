#include "runtime/cpu/ControlGroup.h"

#include <algorithm>
#include <fstream>

using namespace fusebox;

void cpu::forEachControlGroup(const std::function<void(const std::string &)> &visit) {
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (line.rfind("0::", 0) != 0)
      continue;
    for (std::string path = line.substr(3);; path.erase(path.rfind('/'))) {
      visit("/sys/fs/cgroup" + path);
      if (path.find('/') == std::string::npos)
        return;
    }
  }
}

std::optional<uint64_t> cpu::readNumber(const std::string &path, const std::string &key) {
  std::ifstream file(path);
  std::string word;
  uint64_t value;
  if (!key.empty())
    while (file >> word && word != key)
      ;
  if (file >> value)
    return value;
  return std::nullopt;
}

std::optional<unsigned> cpu::cpuQuota() {
  std::optional<unsigned> least;
  forEachControlGroup([&](const std::string &folder) {
    // "max 100000", or microseconds of CPU time in each period of that many.
    std::ifstream file(folder + "/cpu.max");
    uint64_t quota, period;
    if (file >> quota >> period && period > 0) {
      unsigned cpus = unsigned(std::max<uint64_t>(1, quota / period));
      least = std::min(least.value_or(cpus), cpus);
    }
  });
  return least;
}
