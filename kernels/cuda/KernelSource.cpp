#include "kernels/cuda/KernelSource.h"

#include <algorithm>
#include <cstdio>
#include <set>
#include <sstream>

namespace fusebox::cuda {

namespace {

/// Appends a header and, before it, what it includes; each once. Comment lines and blank lines are left out.
bool inlineHeader(const std::string &name, std::set<std::string> &seen, std::string &out) {
  if (!seen.insert(name).second)
    return true;
  const char *text = nullptr;
  for (unsigned i = 0; i < embeddedHeaderCount; ++i)
    if (name == embeddedHeaders[i].name)
      text = embeddedHeaders[i].text;
  if (!text)
    return false;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    size_t start = line.find_first_not_of(' ');
    if (start == std::string::npos || line.compare(start, 2, "//") == 0 || line == "#pragma once")
      continue;
    constexpr std::string_view include = "#include \"";
    if (line.starts_with(include)) {
      if (!inlineHeader(line.substr(include.size(), line.rfind('"') - include.size()), seen, out))
        return false;
      continue;
    }
    out += line + "\n";
  }
  return true;
}

std::string realLiteral(double value) {
  char text[48];
  std::snprintf(text, sizeof text, "%af", double(float(value)));
  return text;
}

/// The constants of an entry in its order, as C++ members.
std::string shapeMembers(const KernelEntry &entry, const Shape &shape) {
  std::string text;
  for (const char *name : entry.integers)
    text += std::string("  static constexpr int ") + name + " = " +
            std::to_string(shapeInteger(shape, name)) + ";\n";
  for (const char *name : entry.reals)
    text += std::string("  static constexpr float ") + name + " = " + realLiteral(shapeValue(shape, name)) +
            ";\n";
  return text;
}

/// What kernel `request` is made of, as the members of a struct: constants, body, parts as structs Part0, ….
std::string members(const KernelRequest &request) {
  const KernelEntry *entry = findKernel(request.symbol);
  std::string text = entry ? shapeMembers(*entry, request.shape) + request.body : std::string();
  for (size_t i = 0; i < request.parts.size(); ++i)
    text += "struct Part" + std::to_string(i) + " {\n" + members(request.parts[i]) + "};\n";
  return text;
}

/// Why a kernel can't be made as requested; empty if it can.
std::string fault(const KernelEntry &entry, const KernelRequest &request) {
  if (std::string reason = entry.accepts(request.shape); !reason.empty())
    return reason;
  if (request.body.empty() == entry.takesBody)
    return request.body.empty() ? "needs a pointwise body" : "takes no pointwise body";
  if (!std::equal(request.parts.begin(), request.parts.end(), entry.parts.begin(), entry.parts.end(),
                  [](const KernelRequest &part, const char *symbol) { return part.symbol == symbol; }))
    return "does the work of other kernels than its parts";
  for (const KernelRequest &part : request.parts)
    if (std::string reason = fault(*findKernel(part.symbol), part); !reason.empty())
      return part.symbol + ": " + reason;
  return {};
}

} // namespace

std::string kernelName(const KernelRequest &request) {
  uint64_t hash = 0xcbf29ce484222325ull; // FNV-1a
  for (unsigned char c : members(request))
    hash = (hash ^ c) * 0x100000001b3ull;
  char text[24];
  std::snprintf(text, sizeof text, "_%012llx", static_cast<unsigned long long>(hash & 0xffffffffffffull));
  return request.symbol + text;
}

Result<std::string> kernelSource(const KernelRequest &request) {
  const KernelEntry *entry = findKernel(request.symbol);
  if (!entry)
    return internalError("no CUDA kernel is called " + request.symbol);
  if (std::string reason = fault(*entry, request); !reason.empty())
    return internalError("CUDA kernel " + request.symbol + ": " + reason);
  std::string source;
  std::set<std::string> seen;
  if (!inlineHeader(entry->header, seen, source))
    return internalError(std::string("a CUDA kernel header is missing: ") + entry->header);
  source += "namespace {\nstruct S {\n" + members(request) + "};\n}\n";
  source += "extern \"C\" __global__ void __launch_bounds__(" +
            std::to_string(entry->threads(request.shape)) + ", (" + entry->minBlocks + "))\n" +
            kernelName(request) +
            "(const __grid_constant__ fusebox::Args args, const __grid_constant__ fusebox::StepView step) "
            "{\n  fusebox::" +
            entry->symbol + "<S>(args, step);\n}\n";
  return source;
}

} // namespace fusebox::cuda
