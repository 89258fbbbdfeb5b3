// What the control groups (version 2) around this process say: limits of containers.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace fusebox::cpu {

/// Calls visit(folder) for each control-group folder from the process's own up to the root.
void forEachControlGroup(const std::function<void(const std::string &folder)> &visit);

/// The number after `key` in a file of "key value" lines; without a key, the file's first number.
std::optional<uint64_t> readNumber(const std::string &path, const std::string &key = {});

/// CPUs that the groups' quotas allow, at least 1; nothing if there is no quota.
std::optional<unsigned> cpuQuota();

} // namespace fusebox::cpu
