#include "runtime/cuda/Nvrtc.h"

#include <cstdlib>
#include <dlfcn.h>
#include <filesystem>
#include <regex>
#include <sstream>

namespace fusebox::cuda {

namespace {

using ProgramHandle = struct ProgramTag *;

struct NvrtcApi {
  int (*version)(int *, int *) = nullptr;
  const char *(*errorString)(int) = nullptr;
  int (*createProgram)(ProgramHandle *, const char *, const char *, int, const char *const *,
                       const char *const *) = nullptr;
  int (*destroyProgram)(ProgramHandle *) = nullptr;
  int (*compileProgram)(ProgramHandle, int, const char *const *) = nullptr;
  int (*getCubinSize)(ProgramHandle, size_t *) = nullptr;
  int (*getCubin)(ProgramHandle, char *) = nullptr;
  int (*getPtxSize)(ProgramHandle, size_t *) = nullptr;
  int (*getPtx)(ProgramHandle, char *) = nullptr;
  int (*getLogSize)(ProgramHandle, size_t *) = nullptr;
  int (*getLog)(ProgramHandle, char *) = nullptr;
  std::string problem;
};

/// Folders that may hold NVRTC, in the order they are tried; the empty one leaves the search to the loader.
std::vector<std::string> searchFolders() {
  std::vector<std::string> folders;
  if (const char *path = std::getenv("FUSEBOX_NVRTC_PATH"))
    folders.push_back(path);
#ifdef FUSEBOX_NVRTC_FOLDER
  folders.push_back(FUSEBOX_NVRTC_FOLDER);
#endif
  folders.push_back("");
  for (const char *name : {"CUDA_HOME", "CUDA_PATH"})
    if (const char *path = std::getenv(name))
      folders.push_back(std::string(path) + "/lib64");
  folders.push_back("/usr/local/cuda/lib64");
  return folders;
}

/// Opens NVRTC in a folder. By full path it does not find its own builtins library, so that is opened first.
void *openIn(const std::string &folder) {
  namespace fs = std::filesystem;
  for (const char *major : {"13", "12"}) {
    std::string name = std::string("libnvrtc.so.") + major;
    if (folder.empty()) {
      if (void *library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL))
        return library;
      continue;
    }
    std::error_code ignored;
    if (!fs::exists(fs::path(folder) / name, ignored))
      continue;
    std::string prefix = std::string("libnvrtc-builtins.so.") + major;
    for (const auto &entry : fs::directory_iterator(folder, ignored))
      if (entry.path().filename().string().starts_with(prefix))
        dlopen(entry.path().c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (void *library = dlopen((fs::path(folder) / name).c_str(), RTLD_NOW | RTLD_LOCAL))
      return library;
  }
  return nullptr;
}

template <class F> bool find(void *library, const char *symbol, F &function) {
  function = reinterpret_cast<F>(dlsym(library, symbol));
  return function != nullptr;
}

NvrtcApi loadNvrtc() {
  NvrtcApi api;
  void *library = nullptr;
  for (const std::string &folder : searchFolders())
    if ((library = openIn(folder)))
      break;
  if (!library) {
    api.problem =
        "NVRTC was not found: neither libnvrtc.so.13 nor .12; install the CUDA toolkit or the Python package "
        "nvidia-cuda-nvrtc, and name the library's folder in FUSEBOX_NVRTC_PATH";
    return api;
  }
  bool complete =
      find(library, "nvrtcVersion", api.version) && find(library, "nvrtcGetErrorString", api.errorString) &&
      find(library, "nvrtcCreateProgram", api.createProgram) &&
      find(library, "nvrtcDestroyProgram", api.destroyProgram) &&
      find(library, "nvrtcCompileProgram", api.compileProgram) &&
      find(library, "nvrtcGetCUBINSize", api.getCubinSize) && find(library, "nvrtcGetCUBIN", api.getCubin) &&
      find(library, "nvrtcGetPTXSize", api.getPtxSize) && find(library, "nvrtcGetPTX", api.getPtx) &&
      find(library, "nvrtcGetProgramLogSize", api.getLogSize) &&
      find(library, "nvrtcGetProgramLog", api.getLog);
  if (!complete)
    api.problem = "this NVRTC is too old: it can't make cubins; version 12 or newer is needed";
  return api;
}

const NvrtcApi &nvrtc() {
  static const NvrtcApi api = loadNvrtc();
  return api;
}

/// A string that NVRTC gives out by size, then by copy, with a final NUL.
std::string fetch(ProgramHandle program, int (*size)(ProgramHandle, size_t *),
                  int (*get)(ProgramHandle, char *)) {
  size_t bytes = 0;
  if (size(program, &bytes) != 0 || bytes == 0)
    return {};
  std::string text(bytes, '\0');
  if (get(program, text.data()) != 0)
    return {};
  text.resize(text.find('\0') == std::string::npos ? bytes : text.find('\0'));
  return text;
}

} // namespace

std::vector<KernelResources> parseResourceLog(const std::string &log) {
  static const std::regex entry("Compiling entry function '([^']+)'"),
      frame("(\\d+) bytes stack frame, (\\d+) bytes spill stores, (\\d+) bytes spill loads"),
      registers("Used (\\d+) registers"), shared("(\\d+) bytes smem");
  std::vector<KernelResources> kernels;
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_search(line, match, entry))
      kernels.push_back({match[1], 0, 0, 0, 0});
    if (kernels.empty())
      continue;
    if (std::regex_search(line, match, frame)) {
      kernels.back().stackBytes = unsigned(std::stoul(match[1]));
      kernels.back().spillBytes = unsigned(std::stoul(match[2]) + std::stoul(match[3]));
    }
    if (std::regex_search(line, match, registers))
      kernels.back().registers = unsigned(std::stoul(match[1]));
    if (std::regex_search(line, match, shared))
      kernels.back().sharedBytes = unsigned(std::stoul(match[1]));
  }
  return kernels;
}

Result<std::string> nvrtcVersion() {
  const NvrtcApi &api = nvrtc();
  if (!api.problem.empty())
    return resourceError(api.problem);
  int major = 0, minor = 0;
  api.version(&major, &minor);
  return std::to_string(major) + "." + std::to_string(minor);
}

std::vector<std::string> compileFlags(const std::string &chip, const std::vector<std::string> &more) {
  std::vector<std::string> flags = {"--gpu-architecture=" + chip, "--std=c++17", "--ptxas-options=-v",
                                    "--diag-suppress=177"};
  flags.insert(flags.end(), more.begin(), more.end());
  return flags;
}

Result<CompiledModule> compileCuda(const std::string &source, const std::string &name,
                                   const std::string &chip, const std::vector<std::string> &options,
                                   bool wantPtx) {
  const NvrtcApi &api = nvrtc();
  if (!api.problem.empty())
    return resourceError(api.problem);
  ProgramHandle program = nullptr;
  if (int status = api.createProgram(&program, source.c_str(), name.c_str(), 0, nullptr, nullptr))
    return internalError("NVRTC: " + name + ": " + api.errorString(status));

  std::vector<std::string> flags = compileFlags(chip, options);
  std::vector<const char *> pointers;
  for (const std::string &option : flags)
    pointers.push_back(option.c_str());
  int status = api.compileProgram(program, int(pointers.size()), pointers.data());

  CompiledModule module;
  module.log = fetch(program, api.getLogSize, api.getLog);
  if (status == 0) {
    size_t bytes = 0;
    status = api.getCubinSize(program, &bytes);
    module.cubin.resize(bytes);
    if (status == 0)
      status = api.getCubin(program, reinterpret_cast<char *>(module.cubin.data()));
    if (wantPtx)
      module.ptx = fetch(program, api.getPtxSize, api.getPtx);
  }
  api.destroyProgram(&program);
  if (status != 0)
    return internalError("NVRTC can't compile " + name + " for " + chip + ": " + api.errorString(status) +
                         "\n" + module.log);
  module.kernels = parseResourceLog(module.log);
  return module;
}

} // namespace fusebox::cuda
